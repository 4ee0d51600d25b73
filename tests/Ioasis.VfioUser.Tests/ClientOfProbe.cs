namespace Ioasis.VfioUser.Tests;

/// <summary>Tests of one <see cref="ProbeDevice"/> that is served, and of one client of it.</summary>
public abstract class ClientOfProbe : IDisposable
{
    private readonly Served _served;

    private protected ClientOfProbe()
    {
        _served = new(Device);
        Client = _served.Connect();
    }

    private protected ProbeDevice Device { get; } = new();

    private protected Served Served => _served;

    private protected TestClient Client { get; }

    public void Dispose()
    {
        Client.Dispose();
        _served.Dispose();
        DisposeOthers();
        GC.SuppressFinalize(this);
    }

    /// <summary>Disposes of what a class has besides, after client and server.</summary>
    private protected virtual void DisposeOthers()
    {
    }
}
