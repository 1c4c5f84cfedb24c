"""What keeps audit logs honest: the signer of one's own, and whoever watches those of others.

One's own: `signer`, `memory`, `coverage`, `cosigning`, `witnessed`, `sealer`. Those of others:
`witness`, `mirror`, `monitor`. Who they are: `members`; who goes on for a log that ended:
`succession`.
"""
