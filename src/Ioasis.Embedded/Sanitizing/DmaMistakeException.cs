namespace Ioasis.Embedded.Sanitizing;

/// <summary>A program made mistakes with DMA. The message has them all, with where the mappings were made and ended.</summary>
public sealed class DmaMistakeException : Exception
{
    /// <summary>An exception without reports.</summary>
    public DmaMistakeException()
        : base("A mistake with DMA.")
    {
    }

    /// <summary>An exception without reports.</summary>
    public DmaMistakeException(string message)
        : base(message)
    {
    }

    /// <summary>An exception without reports.</summary>
    public DmaMistakeException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>An exception with its reports.</summary>
    public DmaMistakeException(IReadOnlyList<DmaReport> reports)
        : base(string.Join('\n', reports ?? throw new ArgumentNullException(nameof(reports)))) => Reports = reports;

    /// <summary>The mistakes, the worst first.</summary>
    public IReadOnlyList<DmaReport> Reports { get; } = [];
}
