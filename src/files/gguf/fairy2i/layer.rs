//! A linear layer of such a file: the same weights in the order of the packed format.

use super::layout::{Bundle, Plane, negate};
use super::{Layout, TILE};
use crate::codebook::COLUMNS_PER_WORD;
use crate::files::gguf::blocks;
use crate::files::gguf::container::TensorInfo;
use crate::files::gguf::shards::Shards;
use crate::files::json::show;

/// Where a layer is, and how large.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) layout: Layout,
    /// Tensors of the file: codes and scales of a bundle, or the stages of the first matrix and then of the second.
    pub(super) names: Vec<String>,
    /// Rows of tiles that lie before those of this layer in its bundle.
    pub(super) first: usize,
    /// Rows of tiles in its bundle.
    pub(super) of: usize,
    /// Complex outputs.
    pub(super) rows: usize,
    /// Complex inputs.
    pub(super) columns: usize,
    /// Stages of all its matrices.
    pub(super) branches: usize,
}

impl Layer {
    /// What is wrong with its tensors, if something is.
    pub(super) fn problem(&self, shards: &Shards) -> Option<String> {
        self.names.iter().enumerate().find_map(|(at, name)| {
            let Some(info) = shards.tensor(name) else {
                return Some(format!("`{name}` is missing"));
            };
            let fits = match self.layout {
                Layout::Bundles => self.fits_bundle(info, at == 0),
                Layout::Tiles => [42, 44].contains(&info.kind.id) && self.fits_plane(info),
                Layout::Rows => info.kind.id == 40 && self.fits_plane(info),
            };
            let (found, kind) = (show(&format!("{:?}", info.shape)), info.kind.name);
            let [rows, columns] = [self.rows, self.columns];
            let wrong = format!(
                "`{name}` is {kind} {found}, expected codes or scales of [{rows}, {columns}]"
            );
            (!fits).then_some(wrong)
        })
    }

    fn fits_plane(&self, info: &TensorInfo) -> bool {
        info.shape == [self.rows, self.columns]
    }

    fn fits_bundle(&self, info: &TensorInfo, codes: bool) -> bool {
        let tiles = match (codes, &info.shape[..], info.kind.name) {
            (true, [tiles, TILE, found, 16], "FAIRY2I_BUNDLE_CODES") if *found == self.branches => {
                *tiles
            }
            (false, [tiles, found, 2], "F16" | "BF16") if *found == self.branches => *tiles,
            _ => return false,
        };
        tiles == self.of * (self.columns / TILE)
            && self.rows.is_multiple_of(TILE)
            && self.columns.is_multiple_of(TILE)
    }

    /// Rows that share scales, and words of a row that do.
    fn shared(&self) -> (usize, usize) {
        match self.layout {
            Layout::Rows => (1, self.words()),
            Layout::Bundles | Layout::Tiles => (TILE, TILE / COLUMNS_PER_WORD),
        }
    }

    /// Words of a row of one stage.
    fn words(&self) -> usize {
        crate::codebook::words_for(self.columns)
    }

    /// `[rows, matrices, stages, words]`. Where a scale is negative its codes are negated, so that all scales are positive.
    ///
    /// # Errors
    /// What is wrong with the scales.
    pub(super) fn codes(&self, shards: &Shards) -> Result<Vec<u32>, String> {
        let mut words = match self.layout {
            Layout::Bundles => {
                let across = self.columns / TILE;
                let bundle = Bundle {
                    codes: self.names.first().map_or(&[], |name| shards.bytes(name)),
                    branches: self.branches,
                    first: self.first * across,
                    across,
                };
                bundle.words(self.rows)
            }
            Layout::Tiles | Layout::Rows => {
                let planes = self.planes(shards);
                let mut words = Vec::with_capacity(self.rows * self.branches * self.words());
                for row in 0..self.rows {
                    planes.iter().for_each(|plane| plane.words(row, &mut words));
                }
                words
            }
        };
        let scales = self.signed_scales(shards)?;
        if scales.iter().any(|scale| scale.is_sign_negative()) {
            let (rows, in_group) = self.shared();
            for (at, word) in words.iter_mut().enumerate() {
                let (row, branch, in_row) = (
                    at / self.words() / self.branches,
                    at / self.words() % self.branches,
                    at % self.words(),
                );
                let groups = self.words() / in_group.max(1);
                let tile = row / rows * groups + in_row / in_group.max(1);
                let pair = scales
                    .get(2 * (tile * self.branches + branch)..)
                    .unwrap_or_default();
                if let [re, im, ..] = pair {
                    *word = negate(*word, re.is_sign_negative(), im.is_sign_negative());
                }
            }
        }
        Ok(words)
    }

    /// `[scale blocks, groups, matrices, stages, 2]`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn scales(&self, shards: &Shards) -> Result<Vec<f32>, String> {
        let mut scales = self.signed_scales(shards)?;
        scales.iter_mut().for_each(|scale| *scale = scale.abs());
        Ok(scales)
    }

    /// The scales with the signs that the file gives them.
    fn signed_scales(&self, shards: &Shards) -> Result<Vec<f32>, String> {
        let scales = match self.layout {
            Layout::Bundles => {
                let name = self.names.get(1).map_or("", String::as_str);
                let kind = shards.tensor(name).map(|info| info.kind);
                let values = kind.and_then(|kind| blocks::dequantize(kind, shards.bytes(name)));
                let tile = 2 * self.branches;
                let row = self.columns / TILE * tile;
                let own = self.first * row..(self.first + self.rows / TILE) * row;
                let values = values.unwrap_or_default();
                values.get(own).unwrap_or_default().to_vec()
            }
            Layout::Tiles | Layout::Rows => self.repeated_scales(shards)?,
        };
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(scales),
            Some(at) => {
                let name = self.names.last().map_or("", String::as_str);
                Err(format!(
                    "`{name}` element {at} of the scales is {}, not a scale",
                    scales[at]
                ))
            }
        }
    }

    /// The scales that stand behind the codes of each block, once.
    fn repeated_scales(&self, shards: &Shards) -> Result<Vec<f32>, String> {
        let planes = self.planes(shards);
        let (rows, _) = self.shared();
        // Only the first block of a row counts where all of its blocks have the same scales.
        let groups = match self.layout {
            Layout::Rows => 1,
            Layout::Bundles | Layout::Tiles => self.columns / TILE,
        };
        let mut all = Vec::new();
        for start in (0..self.rows).step_by(rows) {
            for group in 0..groups {
                for (plane, name) in planes.iter().zip(&self.names) {
                    let scales = plane.scales(start, group);
                    let mut others = start..(start + rows).min(self.rows);
                    let same = |row| {
                        plane.scales(row, group).map(f32::to_bits) == scales.map(f32::to_bits)
                    };
                    if !others.all(same) {
                        return Err(format!("`{name}` has several scales in a tile"));
                    }
                    all.extend(scales);
                }
            }
        }
        Ok(all)
    }

    fn planes<'s>(&self, shards: &'s Shards) -> Vec<Plane<'s>> {
        let planes = self.names.iter().filter_map(|name| {
            let info = shards.tensor(name)?;
            Some(Plane {
                bytes: shards.bytes(name),
                block: info.kind.bytes as usize,
                across: self.columns / info.kind.elements as usize,
            })
        });
        planes.collect()
    }
}
