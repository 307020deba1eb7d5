# sse-bench and sse in an image that holds nothing else: docker build -t sse-bench . && docker run --rm sse-bench conform server URL
#
# Not run by us: the project is developed without a Docker engine. Tested: the build step, and both programs in a root that
# has nothing but them (CONTRIBUTING.md, "The static build").
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends musl-tools
WORKDIR /src
COPY . .
RUN ./static.sh --out /out

FROM scratch
COPY --from=build /out/ /bin/
# Reports go where the working folder is mounted: -v "$PWD:/work".
WORKDIR /work
ENTRYPOINT ["/bin/sse-bench"]
