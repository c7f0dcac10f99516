import Glibc
import Synchronization

/// Cosines and sines of partial rotary position embedding: the first `dimension` channels of a head turn, channel c with
/// channel c + dimension/2 (NeoX halves); the rest passes.
///
/// Each position's are computed once, when a pass first reaches it: all rows, heads and layers turn by the same.
package final class RotaryTable: Sendable {
  /// Cosines and sines of all positions from 0 up to some, (positions, half the turning channels).
  struct Angles: Sendable {
    let half: Int
    fileprivate(set) var cosines: [Float] = []
    fileprivate(set) var sines: [Float] = []

    /// Turns the head whose first channel is `values[start]`, in place.
    func rotate(_ values: inout MutableSpan<Float>, at start: Int, position: Int) {
      let angle = position * half
      for channel in 0..<half {
        let (cosine, sine) = (cosines[angle + channel], sines[angle + channel])
        let (a, b) = (values[start + channel], values[start + channel + half])
        values[start + channel] = a * cosine - b * sine
        values[start + channel + half] = b * cosine + a * sine
      }
    }
  }

  private let inverseFrequencies: [Float]
  private let known: Mutex<Angles>

  /// - Parameters:
  ///   - theta: the base.
  ///   - dimension: channels that turn; even.
  package init(theta: Double, dimension: Int) {
    // In fp32, as the reference computes it: theta^(−2j/d).
    inverseFrequencies = stride(from: 0, to: dimension, by: 2).map { channel in
      1 / powf(Float(theta), Float(channel) / Float(dimension))
    }
    known = Mutex(Angles(half: dimension / 2))
  }

  /// The angles of at least `positions` positions.
  func angles(positions: Int) -> Angles {
    known.withLock { known in
      for position in known.cosines.count / known.half..<max(positions, known.cosines.count / known.half) {
        let (cosines, sines) = angles(position: position)
        known.cosines += cosines
        known.sines += sines
      }
      return known
    }
  }

  /// (half the turning channels) each, for an absolute position.
  package func angles(position: Int) -> (cosines: [Float], sines: [Float]) {
    let angles = inverseFrequencies.map { Float(position) * $0 }
    return (angles.map(cosf), angles.map(sinf))
  }
}
