"""``sharegate policy``: how a provider looks after its own rules."""
