"""All numbers by which the agent finds a source to be slow, silent or bad, with the reason for each number.

The numbers are in the order in which they matter to a body: the floors of a source that has the whole content and of
one that is still receiving; the comparison with other sources; the doubt of a source that is still receiving; the parts
of a body from several sources; the comparison with sibling nodes; the links of other nodes, and of this one; and how
long a finding counts.
"""

from __future__ import annotations

from typing import Final

# ------------------------------ a source that has everything (`floor`)

# 256 KiB/s is a 50 MiB layer in more than three minutes: no link between nodes is meant to be that slow.
FLOOR_BYTES_PER_SECOND: Final = 256.0 * 1024
# Outlives a few lost segments in a row (see `transfer.http.fetch.STALL_TIMEOUT`).
FLOOR_WINDOW_SECONDS: Final = 5.0

# How many windows in a row a body may get less because the source gives others that much: half a minute. TCP lets one
# of three bodies starve for five seconds; a member could hold up one for as long as it feeds another.
MOST_WINDOWS_BESIDE_OTHERS: Final = 6

# ------------------------------ a source that is still receiving (`floor`)

# Any source may be as slow as its own source, the origin at last. But a node at the top is left after 15 s without one
# of containerd's steps of 1 MiB (GROWING_STALL_TIMEOUT). A source that gives that much has such a step in each window.
# Without this floor a member could give a byte every ten seconds and hold a pull up for ever.
GROWING_FLOOR_BYTES_PER_SECOND: Final = 48.0 * 1024
GROWING_FLOOR_WINDOW_SECONDS: Final = 20.0

# ------------------------------ a source that may be gone, or stuck (`cluster.health.silence`)

# TCP keepalive does not find an agent that stands still, because its kernel answers. TCP sends a lost segment again
# after 0.2, 0.6 and 1.4 s, and a source on a thin link that many share may give nothing for a second.
GONE_SECONDS: Final = 3.0
# Between looks, and so until a source that answers is asked again: it is held up by its own source. Twice as long each
# time: when an origin is silent, all nodes of a wave ask.
GONE_LOOK_SECONDS: Final = 1.0
GONE_LONGEST_LOOK_SECONDS: Final = 4.0
# How long a file may stay as it is before its writer is taken for dead or stuck. containerd writes 1 MiB at a time, so
# this is a link of 70 KB/s. A node may also have to wait so long for the fetcher.
GROWING_STALL_TIMEOUT: Final = 15.0
# A source that says that it is held up itself is believed for so long without a byte: three nodes, one after the other,
# have tried the origin by then. containerd 1.7 gives a pull up that has not moved for a minute.
HELD_UP_SECONDS: Final = 45.0
# What such a source gives between two silences, or else they count as one: a step of containerd's. A source of one
# stripe gives an eighth of that.
HELD_UP_BYTES: Final = 1 << 20
# How long it may take to give that much, of the time in which the receiver waits for it: as long as it is believed, and
# then at the floor. Without this bound a member that is silent for 15 s, gives a byte, and is silent again could hold a
# pull up for 97 s for each MiB.
HELD_UP_LONGEST_SECONDS: Final = HELD_UP_SECONDS + HELD_UP_BYTES / GROWING_FLOOR_BYTES_PER_SECOND
# How long a giver keeps a body without a byte: the receiver leaves it before that.
GIVING_STALL_TIMEOUT: Final = 60.0

# ------------------------------ compared with what others gave (`comparison`)

# How often the check looks at a source, and so how long the source may be silent before the agent looks for another.
# TCP sends a lost segment again after 0.2 and 0.6 s: the agent waits for two in a row, because changing costs a
# connection.
COMPARISON_SECONDS: Final = 1.0
# "Much slower": a node's own link is often shared by some layers at a time, which makes each of them that much slower.
MUCH_SLOWER: Final = 10
# A source that gave so much less is not chosen while there are others.
SLOWER: Final = 4
# Short bodies say little about a source: a megabyte may come out of buffers.
TELLING_BYTES: Final = 1024 * 1024
# The rate of a source is remembered for so long; of more sources, the latest.
RATE_REMEMBERED_SECONDS: Final = 300.0
RATES_REMEMBERED: Final = 100

# ------------------------------ one that is still receiving (`doubt`)

# Between looks at a source. Slow nodes below each other are found one after the other, each within two looks: by
# simulation of 100 nodes in a chain, eight of them slow, half a second is a quarter quicker than a second.
DOUBT_SECONDS: Final = 0.5
# Later, an eighth of what the body has lasted so far: what takes ten times as long costs a dozen questions more.
DOUBT_SHARE: Final = 1 / 8
LONGEST_DOUBT_SECONDS: Final = 30.0
# The rest has to take so long at the present rate: if it takes less, a better source hardly pays for its search, and
# waves of some seconds ask no questions at all.
WORTH_SECONDS: Final = 10.0

# ------------------------------ parts of a body that several give (`transfer.supplying`)

# TCP sends a lost segment again after 0.2 s. A source that is silent for longer, while others have no work, is left.
SILENCE_SECONDS: Final = 0.5
# The time for a piece from a source whose rate is not known.
UNKNOWN_SECONDS: Final = 0.5
# Before so long, what has come says nothing about the rate.
TELLING_SECONDS: Final = 0.1
# How long it is left alone after that, the first time; twice as long the next.
SILENT_PAUSE_SECONDS: Final = 0.5
LONGEST_SILENT_PAUSE_SECONDS: Final = 4.0
# How often in a row it may be left for silence, or be busy.
MOST_SILENCES_IN_A_ROW: Final = 4

# ------------------------------ a source beside others that have the same one (`cluster.health.lagging`)

# No node on a way of the same length is so far ahead: this is what containerd writes at a time, and the sockets'
# content.
FAR_BYTES: Final = 4 << 20
# A sibling that is so far ahead may soon be far ahead, and is then compared at once: quick nodes are soon through.
SOME_BYTES: Final = 1 << 20
# A source at the top gets it at a rate that differs by less from that of the two that share its link.
MUCH_QUICKER: Final = 3
# In all that comes, nodes with links of the same kind differ by much less. Not more, because a node that has all of it
# is known only for what it got of this content, and that shared its link with others.
QUICKER_IN_ALL: Final = 2
# A sibling must also give so much more than the source does that leaving pays: it has only a share of its link for a
# new follower, beside its other followers.
GIVES_MORE: Final = 1.5
# The siblings of a source change: the agent asks for them again after so many looks.
LOOKS_PER_QUESTION: Final = 4

# ------------------------------ the link of the node that gets it from the origin (`cluster.health.links`)

# More than a shaper lets pass at once, and 20 ms of a link of 200 Mbit/s.
SAMPLE_BYTES: Final = 512 << 10
# Read one after the other: a peer that has not sent a message in 1.5 s is taken for dead (limits.READ_START_TIMEOUT).
PART_BYTES: Final = 128 << 10
# A node that takes longer, at 100 KB/s, is not told from a node that is gone.
SAMPLE_SECONDS: Final = 5.0
# A link with so little room, as a multiple of the rate at which everything comes, is what limits that rate: some of it
# the node need not send at the moment.
LITTLE_ROOM: Final = 4
# Sending a second node to the origin costs a copy: it is to be worth it.
QUICKER_LINK: Final = 3
# Everybody waits for that node, so it is looked at early; a body that has come for less says nothing.
TOP_LOOK_SECONDS: Final = 0.25
# The nodes that get one of its stripes each look one pair after the other: two say that it is slow, and if all took
# samples at once, each sample would come slowly from a good link. A pair needs some 0.3 s.
TOP_LOOKS_AT_ONCE: Final = 2
# A sample is a hundredth of a layer, so only at these looks are any taken: after 0.25, 0.5, 1 to 2.5, 3.5, 4.5, 9 and
# 23 seconds. Our own link may be busy at the first ones, with layers that came from elsewhere.
LINK_LOOKS: Final = frozenset({1, 2, 3, 4, 5, 6, 8, 10, 16, 24})
# That a link is slow is true of all layers that come by it: what was found with one counts for the others, so long.
KNOWN_SLOW_SECONDS: Final = 10.0

# ------------------------------ the link of a source that others are above (`cluster.health.room`)

# All nodes below a slow node sample links, not only those at the top: so only after half a second, one, two and some
# four.
ROOM_LOOKS: Final = frozenset({1, 2, 4, 8})
# Whether a link gives some rate is known after a moment; TCP sends a lost segment again after 0.2 s.
SHORTEST_SAMPLE_SECONDS: Final = 0.25

# ------------------------------ this node's own link (`cluster.health.own_link`)

# The link is full if everything comes at such a share of the rate at which it came while other nodes were tried. A
# trial adds nothing to a full link; the rest is for what comes unevenly within a quarter of a second. Below a node that
# is ten times as slow, a trial adds much more.
FULL_SHARE: Final = 2 / 3
# So many other nodes have to be tried, because one may be slow itself. By simulation of 30 nodes of which a fifth are
# slow, the last one is at 2.31 times S/B with one trial, and at 2.19 with two.
FULL_WITNESSES: Final = 2
# How long the trials count: a slow source is found later by so much if the link was full of something else. Twice as
# long saves hardly more: six nodes that pull twelve layers are at 1.066 times S/B with this, and at 1.060.
FULL_SECONDS: Final = 4.0

# ------------------------------ the source of one stripe among others (`cluster.fetch.stripe_watch`, `stripe_stream`)

# Between looks at all stripes. A stripe that is held up holds up the whole layer when the others are AHEAD_BYTES ahead.
STRIPE_LOOK_SECONDS: Final = 0.25
# Until the source of a stripe that is held up itself is asked again, at most; twice as long each time. Over a thin link
# between zones most sources are held up all the time, and looking at them was nine tenths of all messages.
STRIPE_LONGEST_LOOK_SECONDS: Final = 2.0
# A stripe so far behind the third best, in bytes of the stripe, is held up: eight times as much of the layer.
STRIPE_BEHIND_BYTES: Final = 768 << 10
# What a node passes on at a time, and what is on its way, is less than this.
STRIPE_MUCH_BYTES: Final = 512 << 10
# Stripes are compared over the time in which one usually gets so much: eight pieces of 128 KiB, which is what is passed
# on at a time. TCP shares links unevenly, and over shorter times good nodes look slow.
STRIPE_WINDOW_BYTES: Final = 1 << 20
# "Much more slowly", over that time.
STRIPE_MUCH_SLOWER: Final = 4
# A node is slow if it is to most of the nodes that get a stripe from it, within so long. One whose stripe goes on to
# come slowly gets another source after so many such reports, whatever others say.
STRIPE_REPORT_SECONDS: Final = 10.0
STRIPE_REPORTS: Final = 3
# A source that says that it is held up itself is believed for so long while the whole layer waits for its stripe: a
# member could give the least that a floor allows otherwise, and hold pulls up for as long as it likes. Honest nodes
# leave a slow source within a second, and a stripe that had little of a shared link has all of it when others wait.
STRIPE_LATE_SECONDS: Final = 5.0
# When all other stripes are here, what is left of one has to take so long at the rate at which it came lately: another
# source costs a connection, and each node one message.
STRIPE_SPREAD_SECONDS: Final = 0.5
# When a node above is silent, the node below it that takes its place breaks off what it gives, after as long. A source
# that breaks off earlier than this fails by itself.
STRIPE_SILENCE_SECONDS: Final = 10.0
# All nodes below such a member wait at the same time. Those right below it are given another source first, and those
# on each level below so much later: by then the stripe comes there again.
STRIPE_LEVEL_SECONDS: Final = 1.0

# ------------------------------ changing sources (`cluster.fetch.continuing`)

# A whole search and a connection, as registry.first_byte_timeout has it for the first source.
REOPEN_TIMEOUT: Final = 3.0
# How many sources of one body may be left for being slow. The index nodes know of most slow ones before that; and a
# body has five sources in all (`registryd.transfer.resume`), of which some are to be there for those that fail.
MOST_LEFT: Final = 3

# ------------------------------ how long it counts (`cluster.health.penalties`, `attribution`; `cluster.index.wave`)

# How long a peer that failed for a digest is not asked for it. A layer is pulled within minutes; after that the peer
# may have got a good copy.
AVOID_SECONDS: Final = 60.0
# The same of a peer that answered for some seconds that it is busy, after it had given the beginning: longer than
# containerd needs to ask for the rest, and less than a kubelet waits until its next try. Where all peers do so, the
# rest comes from the origin: else members could hold a pull up at 200 KB/s for as long as they like.
BUSY_SECONDS: Final = 5.0
# How long a peer whose content was wrong is not asked for it: the first time, until the peer has checked its copy. It
# may be innocent (several gave parts; an image was removed as soon as it was there), and may be the only one that has
# it.
# A kubelet tries after 10, 30, 70 and 150 s.
SUSPECT_SECONDS: Final = 120.0
# A peer that alone gave wrong bytes of so many contents within SUSPECT_SECONDS, which it had whole, is asked for
# nothing until one of them is forgotten: each costs a failed pull, and an image has many layers.
WRONG_WHOLE: Final = 2
# The same of contents that it was receiving: they may have come to it wrong, where the origin or another node is bad.
WRONG_RECEIVING: Final = 4
# The same where several gave parts of it, of which most are innocent: a kubelet's next try goes elsewhere, and the one
# after it gets the content from one at a time, so that it is known whose fault it was.
ONE_OF_SEVERAL_SECONDS: Final = 15.0
# The second time: each new attempt with a bad one costs a failed pull.
BLAME_SECONDS: Final = 1800.0
# A peer that failed for so many different digests within AVOID_SECONDS is asked for nothing until the first of them is
# forgotten. It may still answer finds well, and each of its failures costs a pull a time-out.
STRIKES: Final = 3
# How long content that was wrong once is not taken from a node that is still receiving it: other nodes may be passing
# on the same wrong bytes, and find out at their end. A kubelet tries again after 10, 20 and 40 s.
TAINTED_SECONDS: Final = 120.0
# A reported node is not named for so long: a node that is really dead is set aside by then.
REPORTED_SECONDS: Final = 10.0
