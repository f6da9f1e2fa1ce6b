//! Small GGUF files, written as the format says.

/// Metadata and tensors of a file.
#[derive(Clone, Default)]
pub struct Make {
    keys: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
    /// Alignment of the tensors; written when it is not the usual one.
    pub alignment: Option<u32>,
}

/// A tensor: dimensions innermost first, as files have them.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
    /// Instead of the offset that follows from the tensors before.
    pub offset: Option<u64>,
}

/// A text: its length and its bytes.
pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// An array of values whose type has this number.
pub fn array(kind: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.concat());
    bytes
}

impl Make {
    /// A value whose type has this number.
    pub fn key(mut self, name: &str, kind: u32, value: impl Into<Vec<u8>>) -> Self {
        let value = [&kind.to_le_bytes()[..], &value.into()].concat();
        self.keys.push((name.to_owned(), value));
        self
    }

    pub fn u32(self, name: &str, value: u32) -> Self {
        self.key(name, 4, value.to_le_bytes())
    }

    pub fn f32(self, name: &str, value: f32) -> Self {
        self.key(name, 6, value.to_le_bytes())
    }

    pub fn bool(self, name: &str, value: bool) -> Self {
        self.key(name, 7, [u8::from(value)])
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        self.key(name, 8, text(value))
    }

    pub fn texts<'t>(self, name: &str, values: impl IntoIterator<Item = &'t str>) -> Self {
        let values: Vec<_> = values.into_iter().map(text).collect();
        self.key(name, 9, array(8, &values))
    }

    pub fn f32s(self, name: &str, values: impl IntoIterator<Item = f32>) -> Self {
        let values = values.into_iter().map(|x| x.to_le_bytes().to_vec());
        self.key(name, 9, array(6, &values.collect::<Vec<_>>()))
    }

    pub fn i32s(self, name: &str, values: impl IntoIterator<Item = i32>) -> Self {
        let values = values.into_iter().map(|x| x.to_le_bytes().to_vec());
        self.key(name, 9, array(5, &values.collect::<Vec<_>>()))
    }

    /// The same without a key.
    pub fn without(mut self, name: &str) -> Self {
        self.keys.retain(|(key, _)| key != name);
        self
    }

    /// The same without its tensors.
    pub fn without_tensors(mut self) -> Self {
        self.tensors.clear();
        self
    }

    /// A tensor whose type has this number.
    pub fn tensor(mut self, name: &str, dimensions: &[u64], kind: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dimensions: dimensions.to_vec(),
            kind,
            bytes,
            offset: None,
        });
        self
    }

    /// A tensor of 32-bit floats.
    pub fn floats(self, name: &str, dimensions: &[u64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensor(name, dimensions, 0, bytes)
    }

    /// The same with the last tensor changed.
    pub fn last(mut self, change: impl FnOnce(&mut Tensor)) -> Self {
        change(self.tensors.last_mut().expect("a tensor"));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut this = self.clone();
        if let Some(alignment) = self.alignment {
            this = this.u32("general.alignment", alignment);
        }
        let alignment = self.alignment.unwrap_or(32) as usize;
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((this.tensors.len() as u64).to_le_bytes());
        bytes.extend((this.keys.len() as u64).to_le_bytes());
        for (name, value) in &this.keys {
            bytes.extend(text(name));
            bytes.extend(value);
        }
        let mut data: Vec<u8> = Vec::new();
        for tensor in &this.tensors {
            data.resize(data.len().next_multiple_of(alignment), 0);
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            let dimensions = tensor.dimensions.iter();
            bytes.extend(dimensions.flat_map(|d| d.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            let offset = tensor.offset.unwrap_or(data.len() as u64);
            bytes.extend(offset.to_le_bytes());
            data.extend(&tensor.bytes);
        }
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        bytes.extend(data);
        bytes
    }
}
