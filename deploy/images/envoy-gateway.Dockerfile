# tmp is an empty folder with mode 1777: the gateway keeps its files there.
FROM scratch
COPY envoy-gateway /usr/local/bin/envoy-gateway
COPY --chown=65532:65532 home/ /var/lib/eg/
COPY tmp/ /tmp/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy-gateway"]
