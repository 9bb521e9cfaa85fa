//! Numbers that look random and are a function of where they stand: any of them can be computed without those before it,
//! so that a simulation goes on at any row.

/// A source of noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    seed: u64,
}

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 random bits for a place: Sebastiano Vigna's splitmix64 over its three numbers.
    pub(super) fn bits(self, kind: u64, a: u64, b: u64) -> u64 {
        let mixed = splitmix64(splitmix64(splitmix64(self.seed ^ kind.rotate_left(48)) ^ a) ^ b.rotate_left(24));
        splitmix64(mixed)
    }

    /// Uniform from 0 up to, not including, 1.
    pub(super) fn uniform(self, kind: u64, a: u64, b: u64) -> f64 {
        (self.bits(kind, a, b) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal with mean 0 and deviation 1: the sum of four uniforms, scaled.
    pub(super) fn normal(self, kind: u64, a: u64, b: u64) -> f64 {
        let bits = self.bits(kind, a, b);
        let sum: f64 = (0..4).map(|i| f64::from((bits >> (16 * i)) as u16) / 65_536.0).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }

    /// Wanders smoothly between -1 and 1 with `at`: value noise (Ken Perlin) of four octaves, the slowest with a period
    /// of 1.
    pub(super) fn wander(self, kind: u64, a: u64, at: f64) -> f64 {
        let (mut sum, mut weight, mut frequency) = (0.0, 0.5, 1.0);
        for octave in 0..4 {
            let place = at * frequency;
            let (left, part) = (place.floor(), place - place.floor());
            let smooth = part * part * (3.0 - 2.0 * part);
            let corner = |corner: f64| self.uniform(kind + octave, a, corner as i64 as u64) * 2.0 - 1.0;
            sum += weight * (corner(left) * (1.0 - smooth) + corner(left + 1.0) * smooth);
            weight *= 0.5;
            frequency *= 4.0;
        }
        sum
    }
}

fn splitmix64(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
