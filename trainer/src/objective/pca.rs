//! Principal components of many pixels: the few directions of greatest variance, by randomized subspace iteration (Halko, Martinsson
//! & Tropp 2011, "Finding Structure with Randomness", arXiv 0909.4061, algorithms 4.4 and 5.1), so that no covariance of all
//! pixels is ever formed.

use candle_core::{D, DType, Device, Tensor};
use nalgebra::{DMatrix, DVector};

use crate::{
    Error, Result,
    rng::{self, Purpose},
};

/// Directions beside those wanted; they make the wanted ones converge sooner.
const OVERSAMPLING: usize = 10;
/// Iterations: with a hundred of the variance to the next it leaves 10^-9 of a stray direction.
const ITERATIONS: usize = 12;

/// The principal components of a set of images.
#[derive(Debug, Clone)]
pub struct Components {
    /// The images' mean, `(pixels)`.
    pub mean: DVector<f64>,
    /// Orthonormal, the greatest variance first, the largest entry of each positive: `(pixels, k)`.
    pub directions: DMatrix<f64>,
    /// The variance along each direction, over n, `(k)`.
    pub variances: DVector<f64>,
    /// The variance that is left, an average over the other directions.
    pub rest: f64,
    total: f64,
}

impl Components {
    /// The first `k` components of images `x (N, pixels)`.
    ///
    /// # Errors
    /// There are fewer images or pixels than `k` and the oversampling need, or the images do not vary in `k` directions.
    pub fn fit(x: &Tensor, k: usize, seed: u64, step: u64) -> Result<Self> {
        let (n, pixels) = x.dims2()?;
        let wide = k + OVERSAMPLING;
        if wide > n.min(pixels) {
            let needed = format!("{wide} or more images and pixels for {k} components");
            return Err(Error::Unsupported(format!("found {n} images of {pixels} pixels, expected {needed}")));
        }
        let mean = x.mean_keepdim(0)?;
        let centered = x.broadcast_sub(&mean)?;
        let transposed = centered.t()?;
        let mut rng = rng::stream(seed, Purpose::Noise, step);
        let random = Tensor::from_vec(rng::normals(&mut rng, pixels * wide), (pixels, wide), x.device())?;
        let mut basis = orthonormal(&random)?;
        for _ in 0..ITERATIONS {
            basis = orthonormal(&transposed.matmul(&centered.matmul(&basis)?)?)?;
        }
        // Rayleigh-Ritz: the covariance inside of the basis is small enough to be diagonalized.
        let projected = to_matrix(&centered.matmul(&basis)?)?;
        let eigen = (projected.transpose() * &projected / n as f64).symmetric_eigen();
        let mut order: Vec<_> = (0..wide).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let chosen = &order[..k];

        let mut directions = to_matrix(&basis)? * eigen.eigenvectors.select_columns(chosen);
        for mut direction in directions.column_iter_mut() {
            if direction[direction.icamax()] < 0.0 {
                direction.neg_mut();
            }
        }
        let variances = DVector::from_iterator(k, chosen.iter().map(|&i| eigen.eigenvalues[i]));
        let total = f64::from(centered.sqr()?.sum_all()?.to_scalar::<f32>()?) / n as f64;
        let rest = ((total - variances.sum()) / (pixels - k) as f64).max(0.0);
        if let Some(&least) = variances.iter().find(|&&variance| variance <= 1e-9 * total || variance <= 0.0) {
            let (found, expected) =
                (format!("a component of variance {least:e}"), format!("images that vary in {k} directions"));
            return Err(Error::Unsupported(format!("found {found}, expected {expected}")));
        }
        Ok(Self { mean: to_matrix(&mean)?.row(0).transpose(), directions, variances, rest, total })
    }

    /// The share of the images' variance that the components have.
    pub fn explained(&self) -> f64 {
        self.variances.sum() / self.total
    }

    /// Codes of variance 1, `(N, k)`, of images `x (N, pixels)`.
    pub fn whiten(&self, x: &Tensor) -> Result<DMatrix<f64>> {
        let scaled = &self.directions * DMatrix::from_diagonal(&self.variances.map(|variance| 1.0 / variance.sqrt()));
        let mean = Tensor::from_iter(self.mean.iter().map(|&v| v as f32), &Device::Cpu)?.to_device(x.device())?;
        let values: Vec<f32> = scaled.transpose().iter().map(|&v| v as f32).collect();
        let scaled = Tensor::from_vec(values, (self.directions.nrows(), self.directions.ncols()), &Device::Cpu)?;
        to_matrix(&x.broadcast_sub(&mean)?.matmul(&scaled.to_device(x.device())?)?)
    }
}

/// An orthonormal basis of the columns of `x (rows, columns)`.
fn orthonormal(x: &Tensor) -> Result<Tensor> {
    let q = to_matrix(x)?.qr().q();
    let values: Vec<f32> = q.transpose().iter().map(|&v| v as f32).collect();
    Ok(Tensor::from_vec(values, (q.nrows(), q.ncols()), &Device::Cpu)?.to_device(x.device())?)
}

fn to_matrix(x: &Tensor) -> Result<DMatrix<f64>> {
    let (rows, columns) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(DMatrix::from_row_iterator(rows, columns, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against all eigenvectors of the whole covariance.
    #[test]
    fn components_are_the_first_eigenvectors_of_the_covariance() {
        let (n, pixels, k) = (300, 40, 4);
        let mut rng = rng::stream(3, Purpose::Report, 1);
        let values: Vec<f32> = rng::normals(&mut rng, n * pixels);
        // Deviations fall from pixel to pixel.
        let scaled = values.iter().enumerate().map(|(i, v)| 1.0 + v * 0.85_f32.powi((i % pixels) as i32));
        let x = Tensor::from_iter(scaled, &Device::Cpu).unwrap().reshape((n, pixels)).unwrap();
        let found = Components::fit(&x, k, 7, 1).unwrap();

        let x = to_matrix(&x).unwrap();
        let mean = x.row_mean();
        let centered = DMatrix::from_fn(n, pixels, |row, column| x[(row, column)] - mean[column]);
        let eigen = (centered.transpose() * &centered / n as f64).symmetric_eigen();
        let mut order: Vec<_> = (0..pixels).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        for (i, &at) in order[..k].iter().enumerate() {
            assert!((found.variances[i] / eigen.eigenvalues[at] - 1.0).abs() < 1e-5);
            let cosine = found.directions.column(i).dot(&eigen.eigenvectors.column(at));
            assert!(cosine.abs() > 0.99999, "component {i}: {cosine}");
        }
        let rest: f64 = order[k..].iter().map(|&at| eigen.eigenvalues[at]).sum::<f64>() / (pixels - k) as f64;
        assert!((found.rest / rest - 1.0).abs() < 1e-4);
    }

    #[test]
    fn images_that_cannot_have_the_components_are_refused() {
        let few = Tensor::zeros((5, 40), DType::F32, &Device::Cpu).unwrap();
        assert!(Components::fit(&few, 4, 1, 1).unwrap_err().to_string().contains("found 5 images of 40 pixels"));
        let alike = Tensor::ones((50, 40), DType::F32, &Device::Cpu).unwrap();
        assert!(Components::fit(&alike, 4, 1, 1).unwrap_err().to_string().contains("vary in 4 directions"));
    }
}
