//! What every real test stands on: a world of its own, and ways to run weft in it.

pub mod appliance;
pub mod gate;
pub mod namespace;
pub mod program;
pub mod pty;
pub mod wait;
pub mod world;

pub use program::Program;
pub use wait::eventually;
pub use world::{Who, World};

/// Makes two tests of each function: one as root, one as a user made for the test.
#[macro_export]
macro_rules! as_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::support::{Who, World};

            #[test]
            fn as_root() {
                World::run(Who::Root, super::$name);
            }

            #[test]
            fn as_an_ordinary_user() {
                World::run(Who::Ordinary, super::$name);
            }
        }
    )*};
}

/// Makes a test of each function, as root.
#[macro_export]
macro_rules! as_root {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::support::{Who, World};

            #[test]
            fn as_root() {
                World::run(Who::Root, super::$name);
            }
        }
    )*};
}

/// Makes a test of each function, as a user made for the test.
#[macro_export]
macro_rules! as_ordinary {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::support::{Who, World};

            #[test]
            fn as_an_ordinary_user() {
                World::run(Who::Ordinary, super::$name);
            }
        }
    )*};
}
