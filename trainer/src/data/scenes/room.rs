//! The room around the object, its light and its camera: what share of floor, wall, object and highlight each pixel shows.
//!
//! Only operations that IEEE 754 rounds exactly are used (no sine or power of a system's library), so every machine computes
//! the same shares.

use std::f64::consts::PI;

use nalgebra::Vector3;

use super::{
    SIDE,
    shape::{Ray, Shape},
};

/// Rays a pixel in each direction.
const RAYS: usize = 5;

/// The walls are the planes x = -`WALL` and z = -`WALL`, the floor is y = 0.
const WALL: f64 = 2.6;

/// The middle of the square lamp, parallel to the floor, and half its side.
const LAMP: Vector3<f64> = Vector3::new(0.1, 4.4, 3.2);
const LAMP_HALF: f64 = 0.9;

/// What the camera looks at, how far it is from there on the floor, how high, and half the picture's side at distance 1.
const TARGET: Vector3<f64> = Vector3::new(0.0, 0.72, 0.0);
const CAMERA_DISTANCE: f64 = 5.6;
const CAMERA_HEIGHT: f64 = 2.9;
const ZOOM: f64 = 0.32;

/// Light that comes from everywhere; the lamp gives the rest.
const AMBIENT: f64 = 0.3;

/// What a pixel shows, in 1/255: the brightness of floor, wall and object times the area that they have of it, and the highlight's
/// white. The sum of the first three is at most 255.
pub(super) type Shares = [u8; 4];

/// What a ray meets.
enum Surface {
    Floor,
    Wall,
    Object,
}

/// Sine and cosine of an angle below 1, by their series.
fn sin_cos(angle: f64) -> (f64, f64) {
    let (mut sin, mut cos, mut term) = (0.0, 0.0, 1.0);
    for power in 0..24 {
        // 1, x, -x²/2, -x³/6, x⁴/24, ...
        let signed = if power % 4 < 2 { term } else { -term };
        *(if power % 2 == 0 { &mut cos } else { &mut sin }) += signed;
        term *= angle / f64::from(power + 1);
    }
    (sin, cos)
}

/// The shares of all pixels, row by row, of `shape` seen from a camera turned by `degrees` from the room's diagonal.
pub(super) fn shares(shape: Shape, degrees: f64) -> Box<[Shares]> {
    let (sin, cos) = sin_cos(degrees * PI / 180.0);
    let diagonal = 0.5_f64.sqrt();
    let eye =
        Vector3::new((cos + sin) * diagonal * CAMERA_DISTANCE, CAMERA_HEIGHT, (cos - sin) * diagonal * CAMERA_DISTANCE);
    let forward = (TARGET - eye).normalize();
    let right = forward.cross(&Vector3::y()).normalize();
    let up = right.cross(&forward);

    let all = SIDE * RAYS;
    let offset = |i: usize| (2.0 * (i as f64 + 0.5) / all as f64 - 1.0) * ZOOM;
    let mut sums = vec![[0.0; 4]; SIDE * SIDE];
    for (i, j) in (0..all).flat_map(|i| (0..all).map(move |j| (i, j))) {
        let direction = (forward + right * offset(j) - up * offset(i)).normalize();
        let sum: &mut [f64; 4] = &mut sums[i / RAYS * SIDE + j / RAYS];
        let (surface, light, highlight) = look(shape, &Ray { origin: eye, direction }, lamp_point(i % RAYS, j % RAYS));
        // Colors are blended as they are displayed: the square root stands for the display's gamma.
        sum[surface as usize] += light.sqrt();
        sum[3] += highlight;
    }
    let byte = |sum: f64| (sum * 255.0 / (RAYS * RAYS) as f64) as u8;
    sums.into_iter().map(|sum| sum.map(byte)).collect()
}

/// The point of the lamp that ray `(i, j)` of a pixel asks for light: each asks for another one.
fn lamp_point(i: usize, j: usize) -> Vector3<f64> {
    // Neighbors in the pixel are not neighbors on the lamp: 0, 2, 4, 1, 3.
    let offset = |i: usize| (2.0 * ((i * 2 % RAYS) as f64 + 0.5) / RAYS as f64 - 1.0) * LAMP_HALF;
    LAMP + Vector3::new(offset(j), 0.0, offset(i))
}

/// What a ray meets, how bright that is, and the highlight on it, each from 0 to 1.
fn look(shape: Shape, ray: &Ray, lamp: Vector3<f64>) -> (Surface, f64, f64) {
    if let Some(hit) = shape.hit(ray) {
        let point = ray.at(hit.distance);
        let to_lamp = (lamp - point).normalize();
        let lit = hit.normal.dot(&to_lamp).max(0.0);
        // Half of what is around a vertical face is floor, which is darker than the open room above.
        let around = AMBIENT * (0.75 + 0.25 * hit.normal.y);
        let halfway = (to_lamp - ray.direction).normalize().dot(&hit.normal).max(0.0);
        // Blinn's halfway vector to the power 32.
        let shine = (0..5).fold(halfway, |power, _| power * power);
        return (Surface::Object, around + (1.0 - AMBIENT) * lit, 0.45 * shine);
    }
    let to = |distance: f64| if distance > 0.0 { distance } else { f64::INFINITY };
    let floor = to(-ray.origin.y / ray.direction.y);
    let left = to((-WALL - ray.origin.x) / ray.direction.x);
    let back = to((-WALL - ray.origin.z) / ray.direction.z);
    let distance = floor.min(left).min(back);
    let point = ray.at(distance);
    let (surface, normal) = if distance == floor {
        (Surface::Floor, Vector3::y())
    } else if distance == left {
        (Surface::Wall, Vector3::x())
    } else {
        (Surface::Wall, Vector3::z())
    };
    let to_lamp = (lamp - point).normalize();
    let shadow = shape.hit(&Ray { origin: point, direction: to_lamp }).is_some();
    let lit = if shadow { 0.0 } else { normal.dot(&to_lamp).max(0.0) };
    (surface, (AMBIENT + (1.0 - AMBIENT) * lit) * corner(point), 0.0)
}

/// How much of the light from around reaches a point of the room: less, the nearer it is to another of the room's planes.
fn corner(point: Vector3<f64>) -> f64 {
    let near = |distance: f64| (distance + 0.35) / (distance + 0.5);
    // Of the three distances that to its own plane is 0 for all points.
    near(point.x + WALL) * near(point.z + WALL) * near(point.y) / near(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_are_sine_and_cosine() {
        for degrees in -30..=30 {
            let angle = f64::from(degrees) * PI / 180.0;
            let (sin, cos) = sin_cos(angle);
            assert!((sin - angle.sin()).abs() < 1e-15 && (cos - angle.cos()).abs() < 1e-15, "{degrees}°");
        }
    }
}
