//! MPI3D (Gondal et al. 2019, github.com/rr-learning/disentanglement_dataset): pictures of a robot arm, real and rendered, as an npz
//! file with `images` alone, in the order of their factors.

use std::path::Path;

use super::FactorInfo;
use crate::{Error, Result};

/// The factors of the data set with so many images.
pub(super) fn factors(path: &Path, images: usize) -> Result<Vec<FactorInfo>> {
    let (colors, shapes) = match images {
        // Toy, realistic and real.
        1_036_800 => (6, 6),
        // Real with complex shapes.
        460_800 => (4, 4),
        _ => {
            let expected = "1036800 or 460800 (with complex shapes), as MPI3D has; npz:FILE takes any number";
            return Err(Error::malformed(path, "images", images, expected));
        }
    };
    Ok(vec![
        FactorInfo::new("object color", colors),
        FactorInfo::new("object shape", shapes),
        FactorInfo::new("object size", 2),
        FactorInfo::new("camera height", 3),
        FactorInfo::new("background color", 3),
        FactorInfo::new("horizontal axis", 40),
        FactorInfo::new("vertical axis", 40),
    ])
}
