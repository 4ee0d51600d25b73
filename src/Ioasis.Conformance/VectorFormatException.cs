using System.Globalization;

namespace Ioasis.Conformance;

/// <summary>A vector file cannot be read: it is missing, damaged, not JSON, or holds something that the format does not have.</summary>
internal sealed class VectorFormatException : Exception
{
    /// <summary>Makes an exception without a place.</summary>
    public VectorFormatException()
    {
    }

    /// <summary>Makes an exception without a place.</summary>
    /// <param name="message">What is wrong.</param>
    public VectorFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception without a place.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="innerException">The cause.</param>
    public VectorFormatException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception.</summary>
    /// <param name="file">The file.</param>
    /// <param name="line">The line, from 1; 0 if the file as a whole is meant.</param>
    /// <param name="problem">What is wrong.</param>
    /// <param name="innerException">The cause, if there is one.</param>
    public VectorFormatException(string file, int line, string problem, Exception? innerException = null)
        : base(line == 0 ? $"{file}: {problem}" : string.Create(CultureInfo.InvariantCulture, $"{file}:{line}: {problem}"), innerException)
    {
    }
}
