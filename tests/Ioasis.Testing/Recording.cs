using Ioasis.Core;
using Microsoft.Extensions.Logging;

namespace Ioasis.Testing;

/// <summary>Keeps the faults that a driver reports.</summary>
public sealed class RecordingSink : IIommuFaultSink
{
    public List<IommuFault> Faults { get; } = [];

    public int Lost { get; private set; }

    public void OnFault(in IommuFault fault) => Faults.Add(fault);

    public void OnFaultsLost() => Lost++;
}

/// <summary>Keeps the lines that a driver logs.</summary>
public sealed class RecordingLogger : ILogger
{
    private readonly List<(LogLevel Level, string Text)> _lines = [];

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

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lines)
        {
            _lines.Add((logLevel, formatter(state, exception)));
        }
    }

    public override string ToString() => string.Join('\n', Lines.Select(line => $"{line.Level}: {line.Text}"));
}
