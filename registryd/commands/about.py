"""What `--help` says of each command. The list of commands shows the first paragraph.

Here and not in the commands' docstrings, so that the list is shown without an import of the commands. Lines are short,
because the parser keeps them as they are, whatever the terminal's width.
"""

from typing import Final

AGENT: Final = """Run the agent of this node.

containerd asks the agent first.
The agent answers with content that this node or its peers have.

Every setting is a flag, an environment variable and a key of the TOML file:
--peers.find_timeout 1s, REGISTRYD_PEERS_FIND_TIMEOUT=1s,
[peers] find_timeout = "1s".
A flag wins over a variable, and a variable over the file.
Write a list with commas, or repeat its flag."""

CACHE: Final = """Run a pull-through cache of many registries.

The cache answers with content that it has stored. It fetches other content
once, from the registries that upstreams.allow names."""

IMPORT: Final = """Store the images of an OCI archive in the directory store.

If the archive cannot be imported, the store stays as it was."""

EXPORT: Final = """Write images of the directory store into an OCI archive.

The exit code is 1 when an image had to be left out."""

INSTALL: Final = """Make this node's containerd ask registryd first.

After registryd, containerd asks the same hosts as before. The files' earlier
content is recorded, and `registryd uninstall` restores it."""

UNINSTALL: Final = """Undo the changes of `registryd install` on this node.

The command restores containerd's files, and frees the layers and pins that
registryd keeps in containerd."""

DOCTOR: Final = """Find problems of this node and between nodes, with remedies.

The command changes nothing. At the end it pulls a tiny image through
containerd and removes the image again. Run the command as root, with the
agent's settings. The exit code is 1 when there is a problem."""

STATUS: Final = """Show the members, content and transfers of the cluster.

This node's agent answers, with what it knows of the other members."""

RELEASE: Final = """Free the layers and pins that registryd keeps in containerd.

Stop the agent first. `registryd uninstall` does the same. Without either
command, containerd frees the layers a day after the end of the agent, and the
pins stay. Layers are kept by store.keep_layers, pins come from
`registryd prefetch --pin` and from images.keep."""

TALOS: Final = """Print the machine configuration with which a Talos node asks registryd first.

After registryd, the node asks its mirrors as before."""

VERIFY: Final = """Check that an endpoint has all images of a list, complete and undamaged.

The exit code is 1 when content is missing or damaged."""

PREFETCH: Final = """Bring all images of a list into a cache, or into this node's containerd.

Images that are there already are not fetched again. The exit code is 1 when
an image is not complete in the end."""

BACKGROUND: Final = """Tell this node's agent that nobody waits for pulls of some images.

Other pulls go before them, for an hour or until --end. It is for programs that
pull ahead of need by themselves: `registryd prefetch` tells the agent already.
The exit code is 0 when no agent answers, too."""

PINS: Final = "Show the images of this node that are pinned against the kubelet's garbage collection."

UNPIN: Final = """Unpin images that `registryd prefetch` has pinned.

The kubelet may remove them again. Pins of other programs stay."""

NEW_KEY: Final = """Print a new cluster secret: registryd secret new.

Keep the secret in the peers.secret_file of every node, and nowhere else."""

VERSION: Final = "Print the version."
