//! The few things that checkpoints do with a disk, so that tests can let any of them fail.

use crate::files::staging::sync_names;
use std::fs::{self, File};
use std::io::{Result, Write};
use std::path::Path;

/// A disk; every method does what it says on the real one.
pub trait Disk {
    /// Makes a folder and those above it.
    fn make_folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)
    }

    /// Makes an empty file.
    fn create(&self, path: &Path) -> Result<File> {
        File::create(path)
    }

    /// Appends to a file.
    fn write(&self, file: &mut File, bytes: &[u8]) -> Result<()> {
        file.write_all(bytes)
    }

    /// Makes a file durable.
    fn sync(&self, file: &File) -> Result<()> {
        file.sync_all()
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> Result<()> {
        sync_names(path)
    }

    /// Gives a folder another name.
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    /// Removes a folder with all that is in it.
    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path)
    }
}

/// The real disk.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Disk for System {}
