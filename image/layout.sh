# The disk's layout, read by assemble.sh and, inside the initrd, by the script that finds the root.
# Partition numbers and sizes stay as they are: upgrades count on them.
part_bios=1 part_esp=2 part_boot_a=3 part_root_a=4 part_boot_b=5 part_root_b=6 part_data=7
# MiB; the data partition grows over the rest of the disk at first boot.
size_bios=1 size_esp=128 size_boot=192 size_root=640 size_data=192
# Disk GUID of every shipped image. A disk that still has it has never booted: first boot makes
# this and all partition GUIDs random, so that two appliance disks are never mistaken for one.
shipped_disk=7457cd01-0a11-4e1a-9b7e-000000000000
shipped_data=7457cd01-0a11-4e1a-9b7e-0000000000da   # the UUID of the data partition's file system
shipped_part=7457cd01-0a11-4e1a-9b7e-00000000000   # followed by the partition's number
