//! Arrays of anything, and moving their elements about.

/// No array of a graph has more elements, so that a file cannot ask for all of the memory.
const LIMIT: usize = 1 << 26;

/// Elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

/// A result whose error says what does not fit.
pub type Fitting<T> = Result<T, String>;

impl<T> Array<T> {
    /// An array of `shape`.
    ///
    /// # Errors
    /// `data` has another number of elements.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Fitting<Self> {
        if elements(&shape)? == data.len() {
            Ok(Self { shape, data })
        } else {
            Err(format!("{} values for shape {shape:?}", data.len()))
        }
    }

    /// A single element without dimensions.
    pub fn scalar(value: T) -> Self {
        Self { shape: Vec::new(), data: vec![value] }
    }

    /// One dimension.
    pub fn vector(data: Vec<T>) -> Self {
        Self { shape: vec![data.len()], data }
    }

    /// Sizes, the slowest dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The same shape with `f` of each element.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().map(f).collect() }
    }

    /// The dimension that `axis`, which counts from the end if negative, means in `rank` dimensions.
    ///
    /// # Errors
    /// There is no such dimension.
    pub fn axis(axis: i64, rank: usize) -> Fitting<usize> {
        let counted = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
        let found = counted.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
        found.ok_or_else(|| format!("axis {axis} of {rank} dimensions"))
    }

    /// How far apart neighbors along each dimension are.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.shape.len()];
        for i in (1..self.shape.len()).rev() {
            strides[i - 1] = strides[i] * self.shape[i];
        }
        strides
    }
}

impl<T: Clone> Array<T> {
    /// An array of one value.
    ///
    /// # Errors
    /// It would be too large.
    pub fn filled(shape: Vec<usize>, value: T) -> Fitting<Self> {
        let n = elements(&shape)?;
        Ok(Self { shape, data: vec![value; n] })
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// It has another number of elements.
    pub fn reshape(&self, shape: Vec<usize>) -> Fitting<Self> {
        Self::new(shape, self.data.clone())
    }

    /// An array of `shape`, whose element at each position is that of this array at the position which `from` gives, or `filling`
    /// where it gives none. Positions are inside the shape.
    ///
    /// # Errors
    /// It would be too large.
    pub fn moved(
        &self,
        shape: Vec<usize>,
        filling: Option<&T>,
        mut from: impl FnMut(&[usize], &mut [usize]) -> bool,
    ) -> Fitting<Self> {
        let n = elements(&shape)?;
        let (strides, mut position, mut source) = (self.strides(), vec![0; shape.len()], vec![0; self.shape.len()]);
        let mut data = Vec::with_capacity(n);
        for _ in 0..n {
            let index = if from(&position, &mut source) {
                let inside = source.iter().zip(&self.shape).all(|(at, size)| at < size);
                inside.then(|| source.iter().zip(&strides).map(|(at, stride)| at * stride).sum::<usize>())
            } else {
                None
            };
            let element = index.map_or(filling, |index| self.data.get(index));
            data.push(element.ok_or("takes elements that are not there")?.clone());
            advance(&mut position, &shape);
        }
        Ok(Self { shape, data })
    }

    /// Dimension `i` of the result is dimension `order[i]` of this array.
    ///
    /// # Errors
    /// `order` does not name each dimension once.
    pub fn transpose(&self, order: &[usize]) -> Fitting<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.shape.len()) {
            return Err(format!("order {order:?} of {} dimensions", self.shape.len()));
        }
        let shape = order.iter().map(|&axis| self.shape[axis]).collect();
        self.moved(shape, None, |to, from| {
            order.iter().zip(to).for_each(|(&axis, &at)| from[axis] = at);
            true
        })
    }

    /// Repeats dimensions of size 1 until the shape is `shape`, as NumPy broadcasts.
    ///
    /// # Errors
    /// Another dimension differs.
    pub fn broadcast(&self, shape: &[usize]) -> Fitting<Self> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        let offset = shape.len().checked_sub(self.shape.len());
        let fits = |offset: usize| self.shape.iter().zip(&shape[offset..]).all(|(&own, &to)| own == to || own == 1);
        let Some(offset) = offset.filter(|&offset| fits(offset)) else {
            return Err(format!("{:?} cannot be broadcast to {shape:?}", self.shape));
        };
        self.moved(shape.to_vec(), None, |to, from| {
            from.iter_mut().zip(&self.shape).zip(&to[offset..]).for_each(|((from, &own), &to)| {
                *from = if own == 1 { 0 } else { to };
            });
            true
        })
    }

    /// Arrays after one another along `axis`.
    ///
    /// # Errors
    /// Other dimensions differ.
    pub fn concat(parts: &[&Self], axis: usize) -> Fitting<Self> {
        let Some(first) = parts.first() else { return Err("joins nothing".into()) };
        let rest = |array: &Self| {
            let mut shape = array.shape.clone();
            (axis < shape.len()).then(|| shape.remove(axis)).map(|_| shape)
        };
        if rest(first).is_none() || parts.iter().any(|part| rest(part) != rest(first)) {
            let shapes: Vec<_> = parts.iter().map(|part| &part.shape).collect();
            return Err(format!("joins shapes {shapes:?} along dimension {axis}"));
        }
        let mut shape = first.shape.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        elements(&shape)?;
        let mut data = Vec::new();
        for row in 0..outer {
            for part in parts {
                let length = part.shape[axis] * inner;
                data.extend_from_slice(&part.data[row * length..(row + 1) * length]);
            }
        }
        Self::new(shape, data)
    }

    /// `f` of the elements of two arrays, broadcast to each other.
    ///
    /// # Errors
    /// The shapes cannot be broadcast.
    pub fn zip<U: Clone, V>(&self, other: &Array<U>, f: impl FnMut((T, U)) -> V) -> Fitting<Array<V>> {
        let shape = broadcast_shape(&self.shape, &other.shape)?;
        let (a, b) = (self.broadcast(&shape)?, other.broadcast(&shape)?);
        Ok(Array { shape, data: a.data.into_iter().zip(b.data).map(f).collect() })
    }
}

/// The number of elements of an array of `shape`.
///
/// # Errors
/// There are too many.
pub fn elements(shape: &[usize]) -> Fitting<usize> {
    let product = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
    product.filter(|&n| n <= LIMIT).ok_or_else(|| format!("shape {shape:?} has more than {LIMIT} elements"))
}

/// Moves `position` on to the next one inside `shape`, row-major.
pub fn advance(position: &mut [usize], shape: &[usize]) {
    for (at, &size) in position.iter_mut().zip(shape).rev() {
        *at += 1;
        if *at < size {
            return;
        }
        *at = 0;
    }
}

/// The shape that arrays of shapes `a` and `b` are broadcast to.
///
/// # Errors
/// They cannot be.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Fitting<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let joint = |i| match (size(a, i), size(b, i)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => Err(format!("shapes {a:?} and {b:?} do not go together")),
    };
    (0..rank).map(joint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iota(shape: &[usize]) -> Array<usize> {
        Array::new(shape.to_vec(), (0..shape.iter().product()).collect()).unwrap()
    }

    #[test]
    fn elements_move_as_numpy_moves_them() {
        let a = iota(&[2, 3]);
        assert_eq!(a.transpose(&[1, 0]).unwrap().data(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(iota(&[2, 1]).broadcast(&[2, 2, 3]).unwrap().data(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        assert_eq!(Array::concat(&[&a, &iota(&[2, 1])], 1).unwrap().data(), [0, 1, 2, 0, 3, 4, 5, 1]);
        let cut = a.moved(vec![2, 4], Some(&9), |to, from| {
            (from[0], from[1]) = (to[0], to[1]);
            to[1] < 3
        });
        assert_eq!(cut.unwrap().data(), [0, 1, 2, 9, 3, 4, 5, 9]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let a = iota(&[2, 3]);
        assert!(a.reshape(vec![4]).unwrap_err().contains("6 values for shape [4]"));
        assert!(a.broadcast(&[2, 2]).is_err() && a.broadcast(&[3]).is_err() && a.transpose(&[0, 0]).is_err());
        assert!(Array::concat(&[&a, &iota(&[3, 3])], 1).is_err() && Array::concat(&[&a], 2).is_err());
        assert!(Array::filled(vec![usize::MAX, 2], 0).is_err() && broadcast_shape(&[2], &[3]).is_err());
        assert_eq!(Array::<u8>::axis(-1, 3), Ok(2));
        assert!(Array::<u8>::axis(3, 3).is_err() && Array::<u8>::axis(-4, 3).is_err());
    }
}
