"""What a node does by itself, now and then: expiry, snapshots, leaders in their places, room on the
disk, limits, time; `housekeeper` is the loop that all of it shares.
"""
