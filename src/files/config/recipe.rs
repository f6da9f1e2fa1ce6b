//! `quantization_config` of packed folders.

use super::{Fields, brief, show};
use crate::codebook::COLUMNS_PER_WORD;
use crate::error::Result;
use crate::model::{Granularity, Method, Mixed, Recipe};
use serde_json::{Map, Value, json};

/// The newest version of the packed format. The lowest that suffices is written: version 1 has one number of stages,
/// version 2 numbers of kinds of layers, version 3 also numbers of single layers.
pub const VERSION: usize = 3;

/// Value of `rotation`.
const ROTATION: &str = "hadamard";
/// Value of `quant_method`.
const METHOD: &str = "fairy2i";

/// The `quantization_config` that describes `recipe`; `None` for full precision.
pub fn quantization_config(recipe: &Recipe) -> Option<Value> {
    let (method, stages) = match recipe.method {
        Method::Full => return None,
        Method::Phase { stages } => ("fairy2i", stages),
        Method::Mixed(mixed) => ("fairy2i", mixed.base()),
        Method::Binary => ("bitnet", 1),
        Method::Ternary => ("bitnet_1_58", 1),
    };
    let mut config = json!({
        "quant_method": METHOD,
        "version": 1,
        "method": method,
        "stages": stages,
        "granularity": "tensor",
        "skip_lm_head": recipe.skip_head,
    });
    if let Method::Mixed(mixed) = recipe.method {
        let stages = mixed.exceptions().into_iter();
        let stages: Map<_, _> = stages.map(|(name, t)| (name, t.into())).collect();
        config["version"] = version_of(&stages).into();
        config["stages_of"] = stages.into();
    }
    if recipe.rotated {
        config["version"] = VERSION.into();
        config["rotation"] = ROTATION.into();
    }
    match recipe.granularity {
        Granularity::Tensor => {}
        Granularity::Row => config["granularity"] = "row".into(),
        Granularity::Group(size) => {
            config["granularity"] = "group".into();
            config["group_size"] = size.into();
        }
        Granularity::Tile { rows, columns } => {
            config["version"] = VERSION.into();
            config["granularity"] = "tile".into();
            config["tile_rows"] = rows.into();
            config["group_size"] = columns.into();
        }
    }
    Some(config)
}

/// The version that `stages_of` needs: whole names, which have dots, came with the third.
fn version_of(stages_of: &Map<String, Value>) -> usize {
    match stages_of.keys().any(|name| name.contains('.')) {
        true => VERSION,
        false => 2,
    }
}

impl Fields<'_> {
    /// The recipe in `quantization_config`, if there is one, of a model of `blocks` blocks.
    pub(super) fn recipe(&self, blocks: usize) -> Result<Option<Recipe>> {
        let Some(fields) = self.inner("quantization_config")? else {
            return Ok(None);
        };
        let quantizer = fields.text("quant_method")?.unwrap_or("(none)");
        if quantizer != METHOD {
            let what = format!(
                "`{}` is another program's quantization; use the unquantized checkpoint",
                show(quantizer)
            );
            return Err(fields.error("quant_method", what));
        }
        let version = fields.size("version", None, usize::MAX)?;
        // what makes a folder one of a later version are these fields: without them, the number means something unknown
        let newest = match fields.get("stages_of") {
            _ if fields.get("tile_rows").is_some() || fields.get("rotation").is_some() => VERSION,
            Some(stages_of) => stages_of.as_object().map_or(2, version_of),
            None => 1,
        };
        if version > newest {
            let what = format!(
                "{version} is newer than this program, which reads up to {newest}; update fairy2i-gpu"
            );
            return Err(fields.error("version", what));
        }
        let method = fields.method()?;
        if let Method::Mixed(mixed) = method
            && let Some(block) = mixed.beyond(blocks)
        {
            let what = format!("names block {block} of a model that has {blocks}, counted from 0");
            return Err(fields.error("stages_of", what));
        }
        let granularity = fields.granularity()?;
        if granularity != Granularity::Tensor && matches!(method, Method::Binary | Method::Ternary)
        {
            let what = "binary and ternary weights have one scale per tensor";
            return Err(fields.error("granularity", what));
        }
        let rotated = fields.rotated(method)?;
        Ok(Some(Recipe {
            method,
            granularity,
            skip_head: fields.flag("skip_lm_head", false)?,
            rotated,
        }))
    }

    fn rotated(&self, method: Method) -> Result<bool> {
        match self.text("rotation")? {
            None => Ok(false),
            Some(ROTATION) if matches!(method, Method::Phase { .. } | Method::Mixed(_)) => Ok(true),
            Some(ROTATION) => Err(self.error("rotation", "is for the method fairy2i")),
            Some(other) => {
                let what = format!("`{}` is not known; {ROTATION} is", show(other));
                Err(self.error("rotation", what))
            }
        }
    }

    fn method(&self) -> Result<Method> {
        let stages = |most| self.size("stages", Some(1), most);
        match self.text("method")? {
            Some("fairy2i") if self.get("stages").is_none() => {
                Err(self.error("stages", "is missing"))
            }
            Some("fairy2i") => self.phase(stages(4)?),
            Some("bitnet") => stages(1).map(|_| Method::Binary),
            Some("bitnet_1_58") => stages(1).map(|_| Method::Ternary),
            Some(other) => {
                let known = "is not known; fairy2i, bitnet and bitnet_1_58 are";
                Err(self.error("method", format!("`{}` {known}", show(other))))
            }
            None => Err(self.error("method", "is missing")),
        }
    }

    /// The phase method, with other numbers of stages where `stages_of` says so.
    fn phase(&self, stages: usize) -> Result<Method> {
        let Some(exceptions) = self.get("stages_of") else {
            return Ok(Method::Phase { stages });
        };
        let bad = |what: &str| Err(self.error("stages_of", what));
        let Some(exceptions) = exceptions.as_object() else {
            return bad("is no object");
        };
        // what is no count is 0, which is refused
        let count = |count: &Value| count.as_u64().and_then(|count| usize::try_from(count).ok());
        let exceptions = exceptions.iter();
        let exceptions = exceptions.map(|(name, t)| (name.as_str(), count(t).unwrap_or(0)));
        match Mixed::from(stages as u8).with_exceptions(exceptions) {
            Ok(mixed) => Ok(Method::phase(mixed)),
            Err(what) => bad(&show(&what)),
        }
    }

    fn group_size(&self) -> Result<usize> {
        let size = self.size("group_size", None, 1 << 20)?;
        if size % COLUMNS_PER_WORD != 0 {
            let what = format!("{size} is not a multiple of {COLUMNS_PER_WORD}");
            return Err(self.error("group_size", what));
        }
        Ok(size)
    }

    fn granularity(&self) -> Result<Granularity> {
        let (group, named) = (self.get("group_size"), self.text("granularity")?);
        if let (Some(v), true) = (self.get("tile_rows"), named != Some("tile")) {
            return Err(self.error("tile_rows", format!("{} has no tiles to size", brief(v))));
        }
        let granularity = match named {
            Some("tensor") => Granularity::Tensor,
            Some("row") => Granularity::Row,
            Some("group") => return self.group_size().map(Granularity::Group),
            Some("tile") => {
                return Ok(Granularity::Tile {
                    rows: self.size("tile_rows", None, 1 << 20)?,
                    columns: self.group_size()?,
                });
            }
            Some(other) => {
                let known = "is not known; tensor, row, group and tile are";
                return Err(self.error("granularity", format!("`{}` {known}", show(other))));
            }
            None => return Err(self.error("granularity", "is missing")),
        };
        match group {
            Some(v) => Err(self.error("group_size", format!("{} has no groups to size", brief(v)))),
            None => Ok(granularity),
        }
    }
}
