"""Every command of `penstock` by its name: where its code is, and the line that `penstock --help` shows for it."""

from __future__ import annotations

from .command_classes import LazyCommand

__all__ = ["COMMANDS", "WORDS"]

COMMANDS = {
    "add": LazyCommand("project.tracked:add", "Track files and directories of a project."),
    "approve": LazyCommand("history.protect:approve", "Say that one approves of a version."),
    "branch": LazyCommand("history.branches:branch", "List, make or delete branches."),
    "cache": LazyCommand("storage.cache:cache", "Look after the block cache: info, clear, verify."),
    "cat": LazyCommand("packages.browse:cat", "Write files of a version to standard output."),
    "checkout": LazyCommand("project.tracked:checkout", "Bring tracked paths to the versions of their pointers."),
    "commit": LazyCommand("mounts.commit:commit_", "Make what was changed in a mount the next version."),
    "completion": LazyCommand("completion:completion", "Print the completion script of SHELL: bash, zsh or fish."),
    "conflicts": LazyCommand("mounts.conflicts:conflicts", "Show both sides of what others have changed as well."),
    "create": LazyCommand("datasets.create:create", "Make a dataset, with an empty first version."),
    "dag": LazyCommand("stages.graph:dag", "Draw the stages of a project."),
    "demo": LazyCommand("mounts.demo:demo", "Show it all on a store of this machine, with real files."),
    "diff": LazyCommand(
        "history.diff:diff", "List what differs between versions, or commits of git.", "project.changes:diff"
    ),
    "discard": LazyCommand("mounts.discard:discard_", "Give up what was changed in a mount."),
    "doctor": LazyCommand("storage.doctor:doctor", "Check what this machine and a bucket permit."),
    "download": LazyCommand("packages.copies:download", "Write the files of a version into a directory."),
    "export": LazyCommand("packages.export:export", "Write a table of the entries of a version."),
    "exporter": LazyCommand("operation.exporter:exporter", "Serve metrics of all mounts to Prometheus."),
    "fetch": LazyCommand("project.exchange:fetch", "Fetch what a project tracks, and check nothing out."),
    "find": LazyCommand("packages.find:find", "List files by their metadata."),
    "gc": LazyCommand("storage.gc:gc", "Delete from a bucket what no version needs.", "project.changes:gc"),
    "get": LazyCommand("project.imports:get", "Copy what another repository's project tracks."),
    "hash": LazyCommand("datasets.push:hash_", "Print the top hash that a directory would have."),
    "import": LazyCommand("project.imports:import_", "Track what another repository's project tracks."),
    "import-dvc": LazyCommand("project.import_dvc:import_dvc", "Take over a project of DVC."),
    "import-hf": LazyCommand("datasets.import_hf:import_hf", "Make a data set of Hugging Face a version."),
    "import-quilt": LazyCommand("datasets.import_quilt:import_quilt", "Make a package of quilt a dataset."),
    "index": LazyCommand("catalogue.rows:index", "Make data rows of images, videos and DICOM files."),
    "info": LazyCommand("packages.browse:info", "Tell what a version is."),
    "init": LazyCommand("project.begin:init", "Make a git repository a project, which tracks data."),
    "job": LazyCommand("catalogue.job:job", "Ask about long work of the catalogue, or end it."),
    "key": LazyCommand("catalogue.key:key", "Make, list and revoke keys of a server."),
    "lineage": LazyCommand("history.lineage:lineage", "Show what a version was made from."),
    "list": LazyCommand("listed:list_", "List datasets of a bucket, or what a repository offers."),
    "log": LazyCommand("history.log:log_", "Show the versions that led to one."),
    "ls": LazyCommand("packages.browse:ls", "List a directory of a version, or the datasets of a bucket."),
    "merge": LazyCommand("history.merge:merge", "Merge a version into a branch."),
    "merge-parts": LazyCommand("datasets.parts:merge_parts", "Make one version of the parts of a push."),
    "merge-pointer": LazyCommand("project.changes:merge_pointer", "Join what two branches did to tracked data."),
    "meta": LazyCommand("datasets.meta:meta", "Read and set metadata of files, directories and datasets."),
    "metrics": LazyCommand("stages.values:metrics", "Show metrics of stages, and what differs."),
    "mirror": LazyCommand("storage.mirror:mirror", "Bring a dataset to another bucket, and keep it as it is here."),
    "mount": LazyCommand("mounts.mount:mount_", "Show a version as a read-only directory."),
    "mounts": LazyCommand("mounts.mount:mounts", "List what is mounted."),
    "overlay": LazyCommand("mounts.overlay:overlay", "Check what was changed in a mount, or rescue it."),
    "package": LazyCommand("packages.package:package", "Build a package step by step, or install one."),
    "params": LazyCommand("stages.values:params", "Tell how parameters of stages differ."),
    "plots": LazyCommand("stages.plots:plots", "Draw tables that stages made."),
    "policy": LazyCommand("storage.policy:policy", "Say how long versions of a dataset are kept."),
    "protect": LazyCommand("history.protect:protect", "Let a branch take no version that does not fit."),
    "pull": LazyCommand("project.exchange:pull", "Fetch what a project tracks, and check it out."),
    "push": LazyCommand(
        "datasets.push:push_", "Make a directory a version, or send what is tracked.", "project.exchange:push"
    ),
    "refresh": LazyCommand("mounts.refresh:refresh_", "Move a mount to the newest version."),
    "remote": LazyCommand("storage.remote:remote", "Give buckets names: add, list, remove."),
    "reencode": LazyCommand("catalogue.work:reencode", "Make videos that every browser shows frame by frame."),
    "register": LazyCommand("catalogue.work:register", "Make data rows of objects where they lie."),
    "repro": LazyCommand("stages.run:repro", "Run the stages that a change reaches."),
    "reset": LazyCommand("history.rollback:reset", "Let a branch stand at another version."),
    "restart": LazyCommand("operation.restart:restart_", "Have the Penstock that is installed now serve mounts."),
    "revert": LazyCommand("history.rollback:revert", "Undo what one version changed, in a new one."),
    "run": LazyCommand("stages.run:run", "Add a stage, and run it."),
    "rows": LazyCommand("catalogue.rows:rows", "List the data rows of a dataset."),
    "sample": LazyCommand("datasets.sample:sample", "Make some of the files of a version a dataset."),
    "serve": LazyCommand("catalogue.serve:serve_", "Serve the catalogue of buckets over HTTP."),
    "show": LazyCommand("history.show:show", "Show one version, and what it changed."),
    "split": LazyCommand("datasets.sample:split", "Divide the files of a version among new datasets."),
    "stage": LazyCommand("stages.definition:stage", "Add stages, or list them."),
    "stat": LazyCommand("mounts.stat:stat_", "Tell what a path in a mount is."),
    "status": LazyCommand(
        "mounts.status:status", "Tell how a mount is doing, or what is tracked.", "project.tracked:status"
    ),
    "sync": LazyCommand("packages.copies:sync", "Have a directory hold what a version holds."),
    "tag": LazyCommand("history.branches:tag", "List tags, or give a version one."),
    "top": LazyCommand("operation.top:top", "Show what all mounts are doing."),
    "trust": LazyCommand("project.begin:trust", "Say that a project may reach and run what it names."),
    "umount": LazyCommand("mounts.mount:umount", "Unmount what Penstock has mounted."),
    "update": LazyCommand("project.imports:update", "Bring imports to what their branches have now."),
    "upload": LazyCommand("catalogue.rows:upload", "Add videos and images to a dataset."),
    "validate": LazyCommand("packages.find:validate", "Tell what in a version is not as it should be."),
    "verify": LazyCommand("storage.verify:verify_", "Check a version in its bucket, or a directory against it."),
    "warm": LazyCommand("storage.warm:warm_", "Fetch a version into the cache before it is read."),
}


WORDS = {
    "clone": "penstock mount DATASET DIR shows a dataset as files, penstock download DATASET DIR copies them",
    "cp": "penstock download DATASET DIR copies files here, penstock push DIR DATASET sends them",
    "ls-remote": "penstock branch DATASET and penstock tag DATASET list what there is",
    "mv": "files are moved in a writable mount: penstock mount -w DATASET DIR",
    "rm": "files are removed in a writable mount: penstock mount -w DATASET DIR",
    "unmount": "it is penstock umount DIR",
    "upload": "penstock push DIR DATASET makes a directory a version",
}
"""Commands of other tools, and what is typed here."""
