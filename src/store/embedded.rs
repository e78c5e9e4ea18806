//! stub
use super::*;
use std::path::Path;
/// stub
#[derive(Debug)]
pub struct Embedded(Memory);
/// stub
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
impl OpenError {
    /// x
    pub fn help(&self) -> Option<String> {
        None
    }
}
/// stub
#[derive(Debug)]
pub struct Damage;
impl Embedded {
    /// x
    pub fn open(_: &Path) -> Result<Self, OpenError> {
        Ok(Self(Memory::default()))
    }
}
impl Store for Embedded {
    fn get(&self, key: &str) -> Doing<'_, Option<Entry>> {
        self.0.get(key)
    }
    fn list(&self, prefix: &str) -> Doing<'_, Listing> {
        self.0.list(prefix)
    }
    fn commit(&self, transaction: Transaction) -> Doing<'_, Revision> {
        self.0.commit(transaction)
    }
    fn watch(&self, prefix: &str, after: Revision) -> Doing<'_, Watch> {
        self.0.watch(prefix, after)
    }
}
