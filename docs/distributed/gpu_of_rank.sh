#!/bin/sh
# Shows each process of a machine one GPU, by its number there: mpirun -n 4 gpu_of_rank.sh deno task …
# Mesa's device-select layer does it (package mesa-vulkan-drivers), for the drivers of all vendors.
number=${OMPI_COMM_WORLD_LOCAL_RANK:-${SLURM_LOCALID:-0}}
gpus=$(
  for device in /sys/bus/pci/devices/*; do
    case $(cat "$device/class" 2>/dev/null) in
      0x0300* | 0x0302* | 0x0380*) basename "$device" ;;
    esac
  done
)
count=$(printf '%s' "$gpus" | grep -c .)
if [ "$count" -gt 1 ]; then
  chosen=$(printf '%s\n' "$gpus" | sed -n "$((number % count + 1))p" | tr ':.' '__')
  export DRI_PRIME="pci-$chosen!"
fi
exec "$@"
