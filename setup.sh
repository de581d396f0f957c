#!/usr/bin/env bash
# Brings what Glimpse needs and this machine lacks, then runs a task:
#
#     ./setup.sh [--with mpi] [TASK [OPTION ...]]
#
# That is Deno at the version below, into a folder of its own, and on Linux without a GPU's driver
# Mesa's Vulkan driver for the processor; with `--with mpi` Open MPI too. It asks nothing, and changes
# nothing where all is there.
set -euo pipefail

DENO_VERSION=2.9.6

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${HOME:-}
tools=${GLIMPSE_TOOLS:-${home:-$here}/.glimpse}

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# ------------------------------------------------------------------------------------ Packages

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif has sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
  else
    say "This needs root: $*"
    return 1
  fi
}

# Installs packages of the system; options of its package manager may stand among them.
install_packages() {
  say "Installing: $*"
  if has apt-get; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  elif has dnf; then as_root dnf install -y -q "$@"
  elif has pacman; then as_root pacman -S --noconfirm --needed "$@"
  elif has zypper; then as_root zypper -n install "$@"
  else return 1
  fi >/dev/null
}

update_package_lists() {
  if has apt-get; then as_root apt-get update -qq >&2; fi
}

# ---------------------------------------------------------------------------------------- Deno

is_pinned() { [ "$("$1" --version 2>/dev/null | sed -n '1s/^deno \([^ ]*\).*/\1/p')" = "$DENO_VERSION" ]; }

# Prints the name of Deno's release for this machine.
release_name() {
  case "$(uname -s) $(uname -m)" in
    "Linux x86_64") echo x86_64-unknown-linux-gnu ;;
    "Linux aarch64" | "Linux arm64") echo aarch64-unknown-linux-gnu ;;
    "Darwin x86_64") echo x86_64-apple-darwin ;;
    "Darwin arm64") echo aarch64-apple-darwin ;;
    *) return 1 ;;
  esac
}

unpack() { # ARCHIVE FOLDER
  if has unzip; then unzip -qo "$1" -d "$2"
  elif has bsdtar; then bsdtar -xf "$1" -C "$2"
  elif has python3; then python3 -m zipfile -e "$1" "$2"
  elif has busybox; then busybox unzip -qo "$1" -d "$2"
  else return 1
  fi
}

download() { # ADDRESS FILE
  if has curl; then curl --fail --location --silent --connect-timeout 15 --output "$2" "$1"
  elif has wget; then wget --quiet --timeout=15 --tries=1 --output-document="$2" "$1"
  else return 1
  fi
}

install_release() { # FOLDER
  local name
  name=$(release_name) || return 1
  if ! { has curl || has wget; } || ! { has unzip || has bsdtar || has python3 || has busybox; }; then
    { update_package_lists && install_packages curl ca-certificates unzip; } || return 1
  fi
  download "https://github.com/denoland/deno/releases/download/v$DENO_VERSION/deno-$name.zip" \
    "$1/deno.zip" || return 1
  unpack "$1/deno.zip" "$1/bin" || return 1
  chmod +x "$1/bin/deno"
}

install_from_npm() { # FOLDER
  has npm || return 1
  npm install --global --prefix "$1" --no-audit --no-fund --no-update-notifier --loglevel=error \
    "deno@$DENO_VERSION" >&2
}

# Sets `deno` to the path of the pinned version.
find_deno() {
  local folder=$tools/deno-$DENO_VERSION candidate way attempt
  for candidate in "$(command -v deno || true)" "$folder/bin/deno" "${home:+$home/.deno/bin/deno}"; do
    if [ -n "$candidate" ] && is_pinned "$candidate"; then
      deno=$candidate
      return
    fi
  done
  say "Deno $DENO_VERSION is missing; it goes into $folder."
  mkdir -p "$tools"
  for way in install_release install_from_npm; do
    attempt=$(mktemp -d "$tools/new.XXXXXX")
    mkdir -p "$attempt/bin"
    if "$way" "$attempt" && is_pinned "$attempt/bin/deno"; then
      rm -rf "$folder" "$attempt/deno.zip"
      chmod 755 "$attempt" # mktemp's folders are for their owner alone
      mv "$attempt" "$folder"
      deno=$folder/bin/deno
      return
    fi
    rm -rf "$attempt"
  done
  die "Deno $DENO_VERSION could be had neither as a release nor from npm. Install it" \
    "(https://docs.deno.com/runtime/getting_started/installation/) and run this again."
}

# -------------------------------------------------------------------------------------- Vulkan

has_adapter() {
  "$deno" eval 'Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 1)' >/dev/null 2>&1
}

# Debian 12 has a newer driver in its backports: the one beside it is three years older.
use_backports() {
  grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release || return 1
  local list=/etc/apt/sources.list.d/glimpse-backports.list mirror
  if package_sources | grep -q '^bookworm-backports '; then return; fi
  mirror=$(package_sources | sed -n 's/^\(bookworm\|stable\) //p' | head -n 1)
  say "Adding bookworm-backports to the package sources, as $list."
  echo "deb $mirror bookworm-backports main" | as_root tee "$list" >/dev/null || return 1
  update_package_lists || { as_root rm "$list" && return 1; }
}

# Prints each suite of apt with its mirror.
package_sources() {
  # shellcheck disable=SC2016 # apt puts the values in
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages'
}

install_driver() {
  local packages=(mesa-vulkan-drivers libvulkan1)
  if has dnf; then packages=(mesa-vulkan-drivers vulkan-loader); fi
  if has pacman; then packages=(vulkan-swrast vulkan-icd-loader); fi
  if has zypper; then packages=(libvulkan_lvp libvulkan1); fi
  update_package_lists || return 1
  if use_backports; then
    install_packages --target-release bookworm-backports "${packages[@]}" && return
  fi
  install_packages "${packages[@]}"
}

find_driver() {
  [ "$(uname -s)" = Linux ] || return 0
  # Without Vulkan, OpenGL would stand in, slower and with less than is needed.
  export DENO_WEBGPU_BACKEND=${DENO_WEBGPU_BACKEND:-vulkan}
  if has_adapter; then return; fi
  say "There is no Vulkan driver; installing Mesa's, which computes on the processor."
  if install_driver && has_adapter; then return; fi
  die "There is still no Vulkan driver. Install your GPU's, or Mesa's software driver" \
    "(mesa-vulkan-drivers, on some systems vulkan-swrast), and run this again."
}

# ------------------------------------------------------------------------------------ Open MPI

# Fedora and openSUSE keep it apart, to be chosen by environment modules.
use_mpi_folder() {
  local folder
  for folder in /usr/lib64/openmpi /usr/lib64/mpi/gcc/openmpi4 /usr/lib64/mpi/gcc/openmpi5; do
    if [ -x "$folder/bin/mpirun" ]; then
      export PATH=$folder/bin:$PATH
      export LD_LIBRARY_PATH=$folder/lib:$folder/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
  done
}

has_mpi() {
  use_mpi_folder
  has mpirun && mpirun --version 2>/dev/null | grep -q 'Open MPI\|OpenRTE\|PRTE'
}

find_mpi() {
  if has_mpi; then return; fi
  local packages=(openmpi-bin openssh-client)
  if has dnf; then packages=(openmpi openssh-clients); fi
  if has pacman; then packages=(openmpi openssh); fi
  if has zypper; then packages=(openmpi4 openssh-clients); fi
  say "Open MPI is missing."
  if [ "$(uname -s)" = Darwin ] && has brew; then brew install --quiet open-mpi >&2
  else update_package_lists && install_packages "${packages[@]}"
  fi || true
  has_mpi || die "Open MPI could not be installed. Install it (${packages[*]}, or from" \
    "https://docs.open-mpi.org), and run this again."
}

# ----------------------------------------------------------------------------------------- Run

with_mpi=
if [ "${1:-}" = --with ]; then
  [ "${2:-}" = mpi ] || die "--with takes mpi, not ${2:-nothing}."
  with_mpi=yes
  shift 2
fi

if [ "$(uname -s)" = Linux ] && [ -z "${XDG_RUNTIME_DIR:-}" ]; then
  XDG_RUNTIME_DIR=$(mktemp -d)
  export XDG_RUNTIME_DIR
  trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi
if [ -z "$home" ]; then export DENO_DIR=${DENO_DIR:-$tools/deno_dir}; fi

find_deno
find_driver
if [ -n "$with_mpi" ]; then find_mpi; fi
if [ "$(command -v deno || true)" != "$deno" ]; then
  say "Deno is $deno; put its folder on PATH to type it yourself."
  PATH=$(dirname "$deno"):$PATH
fi

cd "$here"
if [ $# -gt 0 ]; then
  "$deno" task "$@"
else
  say "All is there. Type ./setup.sh TASK or deno task TASK:"
  "$deno" task
fi
