# A static binary, and nothing else. Build it first; deploy/README.md says how.
FROM scratch
COPY pointsman /pointsman
USER 65532:65532
ENTRYPOINT ["/pointsman"]
