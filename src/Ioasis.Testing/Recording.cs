using Ioasis.Core;
using Microsoft.Extensions.Logging;

namespace Ioasis.Testing;

/// <summary>Keeps the faults that a driver reports.</summary>
internal sealed class RecordingSink : IIommuFaultSink
{
    /// <summary>The faults in their order.</summary>
    public List<IommuFault> Faults { get; } = [];

    /// <summary>How often faults were lost.</summary>
    public int Lost { get; private set; }

    /// <inheritdoc/>
    public void OnFault(in IommuFault fault) => Faults.Add(fault);

    /// <inheritdoc/>
    public void OnFaultsLost() => Lost++;
}

/// <summary>Keeps the lines that a driver logs.</summary>
internal sealed class RecordingLogger : ILogger
{
    private readonly List<(LogLevel Level, string Text)> _lines = [];

    /// <summary>The lines in their order, as they are now.</summary>
    public IReadOnlyList<(LogLevel Level, string Text)> Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => true;

    /// <inheritdoc/>
    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lines)
        {
            _lines.Add((logLevel, formatter(state, exception)));
        }
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join('\n', Lines.Select(line => $"{line.Level}: {line.Text}"));
}
