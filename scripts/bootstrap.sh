# Sourced by the scripts beside it: brings .venv to what pyproject.toml asks for, and does nothing
# when it is already there. Everything it prints goes to stderr, because a command's stdout may be
# one JSON document.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV="$REPOSITORY/.venv"
STAMP="$VENV/.installed"
unset PYTHONHOME PYTHONPATH

say() { printf '%s\n' "$*" >&2; }

# Name a Python that can run the package: DEAL_PYTHON, or the first that is new enough.
find_python() {
    local candidate
    for candidate in ${DEAL_PYTHON:+"$DEAL_PYTHON"} python3 python3.11 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        if [[ "$candidate" == "${DEAL_PYTHON:-}" ]]; then
            break
        fi
    done
    say "No Python 3.11 or newer was found; install one, or name it in DEAL_PYTHON."
    return 1
}

# Make .venv where it is missing, broken, or was made for another place.
ensure_venv() {
    # A moved copy still runs, but its scripts and its link to the package point to the old place.
    if "$VENV/bin/python" -c '' 2>/dev/null && grep -qF -- "$VENV" "$VENV/bin/activate" 2>/dev/null; then
        return
    fi
    local python
    python=$(find_python)
    say "Making $VENV with $("$python" --version)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt_install python3-venv
    fi
    "$python" -m venv --clear "$VENV" >&2
}

apt_install() {
    say "Installing $* (apt-get)"
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get update -qq >&2 </dev/null &&
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# Install the package with the given extras unless that was done for this very pyproject.toml.
# What was installed with the development extras keeps them.
bootstrap() {
    local extras=$1 wanted
    # Two scripts at once: the second waits for the first, and then finds everything in place.
    exec 9<"$REPOSITORY/pyproject.toml"
    if command -v flock >/dev/null; then
        flock 9
    fi
    ensure_venv
    if [[ -f "$STAMP" ]] && grep -q '^extras .*dev' "$STAMP"; then
        extras=$(sed -n 's/^extras //p' "$STAMP")
    fi
    wanted=$(
        "$VENV/bin/python" - "$REPOSITORY/pyproject.toml" "$REPOSITORY/sdk/deal_sdk/_version.py" <<'PYTHON'
import hashlib, pathlib, sys
content = b"".join(pathlib.Path(name).read_bytes() for name in sys.argv[1:])
print(hashlib.sha256(content).hexdigest(), sys.version.split()[0])
PYTHON
    )
    wanted=$(printf 'extras %s\npyproject %s' "$extras" "$wanted")
    if [[ ! -f "$STAMP" || "$(<"$STAMP")" != "$wanted" ]]; then
        say "Installing deal-sdk[$extras] into $VENV"
        "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >&2
        rm -f "$STAMP"
        (cd "$REPOSITORY" && "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
            --no-input --root-user-action=ignore -e ".[$extras]" >&2)
        printf '%s\n' "$wanted" >"$STAMP"
    fi
    exec 9<&-
}
