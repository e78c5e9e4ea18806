//! What exists outlives the appliance: restarts and reboots, kills, full disks, damaged files.

mod damage;
mod full_disk;
mod restarts;
mod state;
