//! How flows leave the network and come back.
