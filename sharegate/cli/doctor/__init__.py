"""``sharegate doctor``: says what is wrong with a configuration, in words, before it matters.

Looks at everything the gateway will need and changes nothing, so it may run while the gateway
does. Run it as the account the gateway runs as: what a file lets root do proves little.
"""
