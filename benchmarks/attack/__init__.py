"""Good clients while others attack: how much slower are they answered?

`make bench-attack` serves a real process and measures good clients in turns, alone and beside each
attack. What an attack may cost them is a factor of two.
"""
