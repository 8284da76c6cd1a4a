# A static binary, and nothing else. Build it first; deploy/README.md says how.
FROM scratch
COPY pointsman-sync /pointsman-sync
USER 65532:65532
ENTRYPOINT ["/pointsman-sync"]
