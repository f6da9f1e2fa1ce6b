//! Token embedding, RMS norm, SwiGLU.
