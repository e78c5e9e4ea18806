//! What every real test stands on: a world of its own, and ways to run weft in it.

pub mod appliance;
pub mod engine;
pub mod gate;
pub mod namespace;
pub mod outside;
pub mod physical;
pub mod program;
pub mod pty;
pub mod random;
pub mod wait;
pub mod world;

pub use program::Program;
pub use wait::eventually;
pub use world::{Who, World};

/// Makes the tests of one function: one for each kind of user that is named.
#[macro_export]
macro_rules! tests_of {
    ($name:ident: $($test:ident = $who:ident),+) => {
        mod $name {
            use $crate::support::{Who, World};

            $(
                #[test]
                fn $test() {
                    World::run(Who::$who, super::$name);
                }
            )+
        }
    };
}

/// Makes two tests of each function: one as root, one as a user made for the test.
#[macro_export]
macro_rules! as_both {
    ($($name:ident),* $(,)?) => {
        $($crate::tests_of!($name: as_root = Root, as_an_ordinary_user = Ordinary);)*
    };
}

/// Makes a test of each function, as root.
#[macro_export]
macro_rules! as_root {
    ($($name:ident),* $(,)?) => {$($crate::tests_of!($name: as_root = Root);)*};
}

/// Makes a test of each function, as a user made for the test.
#[macro_export]
macro_rules! as_ordinary {
    ($($name:ident),* $(,)?) => {$($crate::tests_of!($name: as_an_ordinary_user = Ordinary);)*};
}
