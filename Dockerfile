# docker build -t sundog . && docker run --rm -v "$PWD:/data" sundog judge real.npz fakes.npz --report report.html
FROM python:3.12-slim
WORKDIR /opt/sundog
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# The build of torch without CUDA; for a GPU leave the second index out and run with --gpus all.
RUN python -m pip install --no-cache-dir -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu '.[hep,sky,radio,hdf5]'
ENV HOME=/tmp MPLBACKEND=agg
USER 1000
WORKDIR /data
ENTRYPOINT ["sundog"]
CMD ["--help"]
