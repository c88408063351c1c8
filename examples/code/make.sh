#!/bin/sh
# Makes a repository with a dataset as code in the directory DIR, step by step as docs/CODE.md tells it.
# The data goes to a bucket beside it, under the name "shapes". Needs git, Penstock and Pillow.
set -eu
[ $# = 1 ] || { echo "usage: make.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
mkdir -p store repository
penstock remote list | grep -q '^shapes ' || penstock remote add shapes "file://$PWD/store"
cd repository
git init -q -b main
git config user.email >/dev/null || { git config user.name You; git config user.email you@example.com; }
step() {
    cp "$here/$1" index.py
    git commit -q index.py -m "$2"
    echo "== $2"
    ls
}
cp "$here/1_fields.py" index.py
git datasets track index.py
step 1_fields.py "Fields"
step 2_ingest.py "An ingest"
step 3_derived.py "Derived fields"
git datasets log
