# rootfs holds envoy at /usr/local/bin and the C libraries that it needs.
FROM scratch
COPY rootfs/ /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
