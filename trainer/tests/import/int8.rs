//! Imported models through the quantizer and the runtime.

use std::{collections::BTreeMap, path::Path};

use unbraid_trainer::{
    import,
    model::{Autoencoder, Int8Model},
    quantize::{self, report::compare},
};

use super::{cases, f32_model, options, support::blobs::Blobs};

#[test]
fn imported_models_run_in_int8() {
    for (name, case) in &cases() {
        let imported = import::import(&options(name, case)).unwrap();
        let model = f32_model(&imported);
        let blobs = Blobs(model.image());
        let options = quantize::Options { images: 128, ..quantize::Options::default() };
        let bytes = quantize::quantize(&model, Some(&blobs), &[], BTreeMap::new(), &options)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let int8 = Int8Model::new(bytes, Path::new(name)).unwrap();
        let report = compare(&model, &int8, Some(&blobs), 32, 0).unwrap();
        if model.has_decoder() {
            let psnr = report.picture_psnr().unwrap();
            assert!(psnr > 34.0, "{name}: {psnr} dB");
        } else if let Some(error) = report.median_mean_error {
            assert!(error < 0.1, "{name}: means off by {error} standard deviations");
        }
    }
}
