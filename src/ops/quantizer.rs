//! The phase quantizer: scales, packing, unpacking (method sections 2 and 3).
