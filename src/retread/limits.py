"""How much of an input is taken, in one place: what is beyond is refused before any work grows with it. Pure.

Wheels, indexes, lock files, libraries and reports come from others. Each number below stands before work that is
quadratic in an input, is multiplied by a few bytes of it, or takes memory without an end. docs/reference/limits.md
lists them. What is twice as large as anything real is refused with a message that names the number.
"""

from __future__ import annotations

from typing import Final

# Versions, requirements, names of files

VERSION: Final = 255
"""Characters of a version: no file system takes a longer file name, and every version stands in one. Python itself
gives up at a number of 4,300 digits."""
RANGE: Final = 1_000
"""Characters of a version range; the wheels of an environment with torch have none of 100."""
REQUIREMENT: Final = 4_000
"""Characters of one requirement with its marker; the longest of an environment with torch has 125. Parsers
take quadratic time for a row of spaces."""
FILE_NAME: Final = 1_000
"""Characters of a wheel's or a source archive's file name; file systems take 255."""
TAGS: Final = 4_096
"""Tags of one wheel. They are written as a product: three parts of 255 characters could say two million."""
SPELLINGS: Final = 120
"""Orders in which the tags of a name can be written: five in one part. Six are 720, ten 3.6 million."""

# TOML, JSON, text

TOML: Final = 64 << 20
"""Bytes of a TOML file; the locks of the shipped recipes have up to 54 kB, and those of large projects a hundred times
as much."""
KEY_PARTS: Final = 32
"""Parts of a dotted key of TOML. Python's parser takes quadratic memory for them: 20,000 took 14 s and 1.6 GB."""
LINE: Final = 256 << 10
"""Bytes of one requirement in a lock with all its hashes, continued lines joined. The longest of the shipped locks has
13 kB; Python's shlex takes quadratic time for a word: 0.4 s for 100 kB, 4 s for 300 kB."""
WORD: Final = 4_096
"""Characters of one option or hash in such a line; a SHA-512 has 128. See the line."""
LOCK: Final = 64 << 20
"""Bytes of a lock file of any kind; see TOML."""
NEAR_MISSES: Final = 20
"""Faults of one file for which a similar known word is looked for: a screen shows no more, and each takes 0.1 ms."""
SYMPTOM: Final = 2_000
"""Characters of a text by which a fault is known."""
SUBJECT: Final = 4_000
"""Characters of a patch's subject that are decoded as mail; RFC 5322 has 998 for a line."""
PATCH: Final = 64 << 20
"""Bytes of a file, or of standard input, that patches are imported from."""

FOLDERS: Final = 256
"""Folders in a path of a commit proof; each is a call, and Python has no more than 1,000 of them."""

# Wheels and archives

METADATA: Final = 16 << 20
"""Bytes of a text in .dist-info; RECORD of torch 2.8 has 1.2 MB."""
REQUIREMENTS: Final = 10_000
"""Requirements of one wheel, 0.1 ms each; the most in an environment with torch are 85."""
MEMBERS: Final = 65_536
"""Members of a wheel; the zip format before zip64 had no more."""
DIRECTORY: Final = 64 << 20
"""Bytes of a zip's directory: 1 kB for each member."""
MEMBER: Final = 8 << 30
"""Bytes of one member, unpacked; the largest wheel of torch on the index has 0.92 GB, packed."""
UNPACKED: Final = 16 << 30
"""Bytes of all members of a wheel, unpacked."""
RATIO: Final = 300
"""Unpacked to packed bytes, of a member and of an image in a fat binary; deflate reaches 1,032, shared objects stay
below 20, PTX below 40."""
ANY_RATIO: Final = 1 << 20
"""Bytes up to which a member or an image may have any ratio."""
SOURCE_FILE: Final = 256 << 20
"""Bytes of one file of a source archive, which is held in memory."""
SOURCE: Final = 4 << 30
"""Bytes of a source archive, unpacked: about a hundred times the largest release that a recipe ships (3 and 39 MB)."""
PARCEL: Final = 4 << 30
"""Bytes of an entry of a shared store, packed. An environment with torch for CUDA has 3 GB."""
CLAIM: Final = 64 << 10
"""Bytes of the claim of one; it has 700."""
JOBS: Final = 64 << 20
"""Bytes of a job file; one of 10,000 jobs has 15 MB."""
RESULT: Final = 1 << 20
"""Bytes of what a job says of itself; it has 700."""
CLAIMS: Final = 16
"""Claims of one entry that are looked into; there are as many as machines that made it at once."""
CACHED: Final = 512 << 20
"""Bytes of an object of a shared compile cache: what Redis takes at most. Most have some kB."""
TAR_NAME: Final = 1 << 20
"""Bytes of a tar member's long name or extended header, which is held in memory; a path has 4,095 at most."""
TOOLKIT: Final = 8 << 30
"""Bytes of one part of a toolkit, unpacked: room for a whole CUDA toolkit."""
PACKAGE: Final = 4 << 30
"""Bytes of a package of Debian's, which is held in memory."""
COMPARED: Final = 64 << 20
"""Bytes of a file whose difference between two wheels is looked into, and not only told."""

# Shared objects and GPU code

SEGMENTS: Final = 256
"""Program headers of an ELF file, since each section is looked for in all; libraries have about ten."""
PE_SECTIONS: Final = 96
"""Sections of a Windows library: the loader takes no more."""
PE_IMPORTS: Final = 4_096
"""Libraries that one of Windows imports from; torch_python.dll has 24."""
NAME: Final = 64 << 10
"""Bytes of a symbol's or a section's name; the longest kernel that was seen has 1.8 kB."""
NAMES: Final = 16
"""Times the size of a string table that its names may have in all, each counted once: linkers share endings of names,
which gives less than 2, and 60,000 symbols could share one of a megabyte."""
DEMANGLED: Final = 4_096
"""Bytes of a kernel's name from which a short one is made."""
COMMENT: Final = 4_096
"""Bytes of compilers' names that are read: each is about 40 long, and a linker leaves each once."""
IMAGE: Final = 1 << 30
"""Bytes of one image of a fat binary, unpacked; FlashAttention-3's library of 330 MB has 71 modules."""
IMAGES: Final = 1 << 30
"""Bytes of all packed images of a file, unpacked, beyond the next: entries of 90 bytes could unpack to a megabyte
each."""
IMAGES_RATIO: Final = 100
"""Times the size of the file; images of real libraries take 3 to 10 times what they are packed into."""
BROKEN: Final = 20
"""Things in a file that begin as GPU code and cannot be read: each may take as long as the file is large."""
PTX_LINE: Final = 4_096
"""Bytes before an ``.entry`` of PTX in which the start of its line is looked for; nvcc's lines have 200."""

# Evidence, indexes, the network

EVIDENCE: Final = 16 << 20
"""Bytes of a file beside a wheel: a report, an envelope; the largest that is kept here has 0.8 MB."""
PAGE: Final = 64 << 20
"""Bytes of an index's page of a project, unpacked: gzip could make gigabytes of a megabyte. The largest of 24
that were looked at, ddtrace's, has 21 MB."""
LINKS: Final = 200_000
"""Files on such a page, each some 2 kB of memory; ddtrace's has 46,724."""
PAGE_TIME: Final = 300.0
"""Seconds until such a page has come as a whole."""
DOWNLOAD: Final = 16 << 30
"""Bytes of a download, since an index need not say how large a file is; the largest wheel
of torch has 0.92 GB."""
PACE: Final = 1_000
"""Bytes in a second that a download has to bring, measured over two minutes: a server that sends a byte a minute would
hold a build for years. A modem brought 5,000."""
PACE_OVER: Final = 120.0
"""Seconds over which the pace is measured, so that a pause is no fault; the pause itself may last a minute."""
CONNECT: Final = 20.0
"""Seconds until a server takes a connection, and again for the whole handshake of TLS and for a proxy's answer."""
PAUSE: Final = 60.0
"""Seconds until status and headers of an answer have all come, and then between two pieces of its body: a mirror that
fetches a file first has a minute to begin. A byte a minute would make years of the headers that are taken."""
REACHED: Final = 300.0
"""Seconds until the body of an answer begins, with all redirects, all tries, and what is waited for between them: ten
redirects with four tries each would have hours."""
TAKEN: Final = 300.0
"""Seconds until an index says that it took a wheel that was uploaded: it stores a gigabyte first, on any disk."""
ANSWERED: Final = 64 << 10
"""Bytes of an answer to an upload, of which the first line is told."""
ASKED: Final = 5.0
"""Seconds for each of these where nothing is to be downloaded."""
NOTED: Final = 2.0
"""Seconds for each answer of a shared store on which nothing but a note hangs, which is left out then: a storage
answers within some 0.1 s, and a build that has nothing to do takes less than one."""
REDIRECTS: Final = 10
"""Addresses in a row to which a server sends on; package indexes do once or twice."""
RETRY_AFTER: Final = 60.0
"""Seconds that are waited at most when a server says when to come again: of a longer time the user decides."""

# Environments that are looked at

INSTALLED: Final = 16 << 20
"""Bytes of a metadata file of an environment; RECORD of torch 2.8 has 1.2 MB."""
PROGRAM: Final = 4 << 20
"""Bytes of a Python file of a user's code; the largest of the standard library has 0.8 MB."""
ANSWER: Final = 60.0
"""Seconds for a Python to say what it is: one on a cold network disk takes several."""
DEVICES: Final = 30.0
"""Seconds for the driver to say which GPUs there are."""
IMPORT: Final = 180.0
"""Seconds for an import: torch alone took 15 s on a cold disk, and 60 s on a network's."""

# Machines of an engine

LOSSES: Final = 3
"""Times that a job may lose its machine or its worker before it is given up: the third time it is not chance."""
SILENT: Final = 60.0
"""Seconds that a job's machine may say nothing, though it is to speak every other second, before its jobs go to others.
Ray itself gives a machine up after 15 to 60."""
HEAD: Final = 30.0
"""Seconds for an engine to say which machines it has; a busy one with thousands takes less than one."""
PROBE: Final = 60.0
"""Seconds for a machine to say which retread it has, the start of Ray's first worker there included, which takes 3 and
to which Ray itself gives as long."""
JOIN: Final = 120.0
"""Seconds for an engine to let this machine in, which takes one, or to start here, which takes 8 on a quiet machine."""
START: Final = 10.0
"""Seconds that jobs wait for machines that do not say at once what they have; who says it later gets what is left."""
