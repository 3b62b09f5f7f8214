#!/bin/sh
# Prints the path of a Python that can make Lapel's virtual environment, or says on stderr what to install.
# Usage: tools/find-python.sh [CANDIDATE]   (a candidate given by hand is the only one that is tried)
#
# The newest supported version on the PATH is taken, because a newer Python is faster. Of each name every folder
# is tried: the first `python3.13` may be a shim that runs nothing.
set -u

probe='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit(3)
if sys.implementation.name != "cpython": sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
print(sys.executable)
'

everywhere() { # NAME: its paths, one a line
    case $1 in */*) command -v "$1"; return ;; esac
    (
        IFS=:
        for folder in $PATH; do
            [ -f "$folder/$1" ] && [ -x "$folder/$1" ] && echo "$folder/$1"
        done
    )
}

newline='
'
found="" no_venv=""
for name in ${1:-python3.13 python3.12 python3.11 python3 python}; do
    paths=$(everywhere "$name")
    while read -r path; do
        [ -n "$path" ] || continue
        usable=$("$path" -c "$probe" 2>/dev/null </dev/null)
        case $? in
        0) echo "$usable"; exit 0 ;;
        4) no_venv="${no_venv:-$path}" ;;
        *)
            said=$("$path" -V 2>&1 </dev/null)
            found="$found $path (${said%%"$newline"*})" # a shim says much
            ;;
        esac
    done <<PATHS
$paths
PATHS
done
if [ -n "$no_venv" ]; then
    version=$("$no_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    {
        echo "lapel: $no_venv has no venv or no ensurepip module, so it cannot make a virtual environment."
        echo "  Debian, Ubuntu:  apt-get install python$version-venv"
        echo "  or name another Python 3.11, 3.12 or 3.13:  make setup PYTHON=/path/to/python3.12"
    } >&2
else
    {
        echo "lapel: Python 3.11, 3.12 or 3.13 is needed and was not found. Looked at:${found:- nothing}"
        echo "  Debian, Ubuntu:  apt-get install python3 python3-venv"
        echo "  Fedora:          dnf install python3.13"
        echo "  macOS:           brew install python@3.13"
        echo "  or name it:      make setup PYTHON=/path/to/python3.12"
    } >&2
fi
exit 1
