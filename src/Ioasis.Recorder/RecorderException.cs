namespace Ioasis.Recorder;

/// <summary>A recording that cannot be made. The message says why, and what to do where anything can be done.</summary>
/// <param name="message">Why.</param>
/// <param name="inner">What told of it.</param>
internal sealed class RecorderException(string message, Exception? inner = null) : Exception(message, inner);
