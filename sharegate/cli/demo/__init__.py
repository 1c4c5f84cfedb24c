"""An invented town whose three departments the demo and the tests ask about.

Nobody in it exists: names, numbers, addresses and companies are drawn from a seed. The province
carries a code that GB/T 2260 assigns to no province, so no identity number here can be a living
person's, and the telephone numbers lie in a block that no operator serves.

The departments' databases know nothing of ShareGate: they are what a gateway finds when it comes.
"""
