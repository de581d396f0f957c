# An image that trains and serves, on the GPU that it is shown or on the processor (docs/setup.md, "In a container"):
#
#     docker build -t glimpse .
#     docker run --rm -v ~/minimind-v:/data -p 127.0.0.1:8000:8000 glimpse
#     docker run --rm -v ~/minimind-v:/data glimpse deno task sft --root /data
FROM debian:trixie-slim
WORKDIR /glimpse

# Deno, Mesa's drivers and Open MPI. NVIDIA's driver, which its container toolkit brings, needs libxext6.
COPY setup.sh deno.json deno.lock ./
COPY links links
RUN apt-get update && \
    apt-get install -y --no-install-recommends libxext6 openssh-server && \
    GLIMPSE_TOOLS=/opt/glimpse ./setup.sh --with mpi && \
    ln -s /opt/glimpse/deno-*/bin/deno /usr/local/bin/deno && \
    rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* /root/.cache

# On a cluster mpirun reaches the other machines by ssh, whose server runs as the same person and with the job's key.
COPY docs/distributed/ssh.conf /etc/ssh/ssh_config.d/glimpse.conf
COPY docs/distributed/sshd.conf /etc/ssh/glimpse_sshd.conf

RUN useradd --create-home --uid 1000 glimpse
USER glimpse
ENV HOME=/home/glimpse XDG_RUNTIME_DIR=/tmp DENO_WEBGPU_BACKEND=vulkan
ENV NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility

# The packages; whoever --user names may write where they and compiled kernels are kept.
COPY . .
RUN deno cache --frozen cli.ts eval.ts && chmod -R a+rwX /home/glimpse

EXPOSE 8000
CMD ["deno", "task", "serve:net", "--host", "0.0.0.0", "--root", "/data"]
