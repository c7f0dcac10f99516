import Glibc

/// Cosines and sines of partial rotary position embedding: the first `dimension` channels of a head turn, channel c with
/// channel c + dimension/2 (NeoX halves); the rest passes.
package struct RotaryTable: Sendable {
  private let inverseFrequencies: [Float]

  /// - Parameters:
  ///   - theta: the base.
  ///   - dimension: channels that turn; even.
  package init(theta: Double, dimension: Int) {
    // In fp32, as the reference computes it: theta^(−2j/d).
    inverseFrequencies = stride(from: 0, to: dimension, by: 2).map { channel in
      1 / powf(Float(theta), Float(channel) / Float(dimension))
    }
  }

  /// (half the turning channels) each, for an absolute position.
  package func angles(position: Int) -> (cosines: [Float], sines: [Float]) {
    let angles = inverseFrequencies.map { Float(position) * $0 }
    return (angles.map(cosf), angles.map(sinf))
  }

  /// Turns the head whose first channel is `values[start]`, in place.
  static func rotate(_ values: inout [Float], at start: Int, cosines: [Float], sines: [Float]) {
    let half = cosines.count
    for channel in start..<start + half {
      let (a, b) = (values[channel], values[channel + half])
      values[channel] = a * cosines[channel - start] - b * sines[channel - start]
      values[channel + half] = b * cosines[channel - start] + a * sines[channel - start]
    }
  }
}
