//! The object's four shapes, each standing on the floor's origin, and where rays meet them.

use nalgebra::Vector3;

/// A ray; its direction has length 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ray {
    pub(super) origin: Vector3<f64>,
    pub(super) direction: Vector3<f64>,
}

impl Ray {
    /// The point at `distance`.
    pub(super) fn at(&self, distance: f64) -> Vector3<f64> {
        self.origin + self.direction * distance
    }
}

/// Where a ray enters a surface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) distance: f64,
    /// Outward, of length 1.
    pub(super) normal: Vector3<f64>,
}

/// An object: a convex solid on the floor, y up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Cube { side: f64 },
    Cylinder { radius: f64, height: f64 },
    Sphere { radius: f64 },
    Capsule { radius: f64, height: f64 },
}

impl Shape {
    /// The shape that the factor `shape` names, at `scale`; about as large as the others to the eye.
    pub(super) fn new(shape: usize, scale: f64) -> Self {
        match shape {
            0 => Self::Cube { side: 1.1 * scale },
            1 => Self::Cylinder { radius: 0.6 * scale, height: 1.2 * scale },
            2 => Self::Sphere { radius: 0.68 * scale },
            _ => Self::Capsule { radius: 0.42 * scale, height: 1.6 * scale },
        }
    }

    /// Where a ray from outside enters first.
    pub(super) fn hit(&self, ray: &Ray) -> Option<Hit> {
        match *self {
            Self::Cube { side } => cube(ray, side),
            Self::Sphere { radius } => sphere(ray, radius, radius),
            Self::Cylinder { radius, height } => tube(ray, radius, 0.0, height).or_else(|| lid(ray, radius, height)),
            Self::Capsule { radius, height } => tube(ray, radius, radius, height - radius)
                .or_else(|| sphere(ray, radius, height - radius))
                .or_else(|| sphere(ray, radius, radius)),
        }
    }
}

/// A ball around the point at `height` above the origin.
fn sphere(ray: &Ray, radius: f64, height: f64) -> Option<Hit> {
    let center = Vector3::new(0.0, height, 0.0);
    let from = ray.origin - center;
    let along = from.dot(&ray.direction);
    let discriminant = along * along - from.dot(&from) + radius * radius;
    let distance = -along - discriminant.max(0.0).sqrt();
    (discriminant > 0.0 && distance > 0.0).then(|| Hit { distance, normal: (ray.at(distance) - center) / radius })
}

/// The side of an upright cylinder around the y axis.
fn tube(ray: &Ray, radius: f64, bottom: f64, top: f64) -> Option<Hit> {
    let (from, direction) = (ray.origin.xz(), ray.direction.xz());
    let (square, along) = (direction.dot(&direction), from.dot(&direction));
    let discriminant = along * along - square * (from.dot(&from) - radius * radius);
    let distance = (-along - discriminant.max(0.0).sqrt()) / square;
    let point = ray.at(distance);
    (discriminant > 0.0 && distance > 0.0 && (bottom..=top).contains(&point.y))
        .then(|| Hit { distance, normal: Vector3::new(point.x, 0.0, point.z) / radius })
}

/// The disc on top of a cylinder, which no ray from above the floor enters from below.
fn lid(ray: &Ray, radius: f64, height: f64) -> Option<Hit> {
    let distance = (height - ray.origin.y) / ray.direction.y;
    let point = ray.at(distance);
    (ray.direction.y < 0.0 && distance > 0.0 && point.x * point.x + point.z * point.z <= radius * radius)
        .then(|| Hit { distance, normal: Vector3::y() })
}

/// A cube along the axes: the ray is inside from its last entry into one of three slabs to its first exit.
fn cube(ray: &Ray, side: f64) -> Option<Hit> {
    let half = side / 2.0;
    let (low, high) = (Vector3::new(-half, 0.0, -half), Vector3::new(half, side, half));
    let (mut entry, mut exit, mut normal) = (0.0, f64::INFINITY, None);
    for axis in 0..3 {
        let to = |bound: f64| (bound - ray.origin[axis]) / ray.direction[axis];
        let (near, far) =
            if ray.direction[axis] < 0.0 { (to(high[axis]), to(low[axis])) } else { (to(low[axis]), to(high[axis])) };
        if near > entry {
            entry = near;
            normal = Some((axis, -ray.direction[axis].signum()));
        }
        exit = far.min(exit);
    }
    let (axis, sign) = normal?;
    (entry < exit).then(|| {
        let mut normal = Vector3::zeros();
        normal[axis] = sign;
        Hit { distance: entry, normal }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, normals, stream};

    /// Whether a point is in the solid, from its definition.
    fn inside(shape: Shape, point: Vector3<f64>) -> bool {
        let from_axis = point.xz().norm();
        match shape {
            Shape::Cube { side } => {
                point.x.abs() < side / 2.0 && point.z.abs() < side / 2.0 && 0.0 < point.y && point.y < side
            }
            Shape::Cylinder { radius, height } => from_axis < radius && 0.0 < point.y && point.y < height,
            Shape::Sphere { radius } => (point - Vector3::new(0.0, radius, 0.0)).norm() < radius,
            Shape::Capsule { radius, height } => {
                let nearest = Vector3::new(0.0, point.y.clamp(radius, height - radius), 0.0);
                (point - nearest).norm() < radius
            }
        }
    }

    #[test]
    fn rays_enter_where_small_steps_do() {
        const STEP: f64 = 2e-3;
        let mut rng = stream(0, Purpose::Report, 0);
        for shape in (0..4).map(|shape| Shape::new(shape, 1.0)) {
            let mut hits = 0;
            for _ in 0..400 {
                let draw: Vec<f64> = normals(&mut rng, 6).into_iter().map(f64::from).collect();
                // From around above the floor to around the object.
                let side = Vector3::new(draw[0], draw[1].abs() + 0.1, draw[2]).normalize() * 4.0;
                let target = Vector3::new(0.4 * draw[3], 0.5 + 0.4 * draw[4], 0.4 * draw[5]);
                let ray = Ray { origin: side, direction: (target - side).normalize() };
                let marched = (0..4000).map(|i| i as f64 * STEP).find(|&distance| inside(shape, ray.at(distance)));
                match (shape.hit(&ray), marched) {
                    (Some(hit), Some(marched)) => {
                        hits += 1;
                        assert!((0.0..=STEP).contains(&(marched - hit.distance)), "{shape:?}, {ray:?}");
                        assert!((hit.normal.norm() - 1.0).abs() < 1e-9 && hit.normal.dot(&ray.direction) < 0.0);
                        let outward = ray.at(hit.distance) + hit.normal * 1e-6;
                        assert!(!inside(shape, outward) && inside(shape, outward - hit.normal * 2e-6));
                    }
                    (None, None) => {}
                    // A ray that grazes is inside for less than a step.
                    (Some(hit), None) => assert!(hit.normal.dot(&ray.direction).abs() < 0.1, "{shape:?}, {ray:?}"),
                    (None, Some(_)) => panic!("{shape:?} is missed by {ray:?}"),
                }
            }
            assert!((80..390).contains(&hits), "{shape:?}: {hits} hits");
        }
    }
}
