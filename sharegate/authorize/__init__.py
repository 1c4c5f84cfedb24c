"""ROOM 2. May they, for this purpose?

``read`` turns the body into an access request; ``table``, ``catalogue`` and ``ruleset`` turn the
policies folder into a rule set; ``pdp`` lets Casbin decide; ``authorize`` asks each question in
its order and makes :class:`~sharegate.model.passage.Decided`. ``settle`` brings in what only
others know: ``rulings``, ``matters`` (asked by ``keepers``) and ``quota`` (counted by
``quota_postgres``). Whatever is unknown or cannot be evaluated is denied, and the denial walks on
to be recorded.
"""
