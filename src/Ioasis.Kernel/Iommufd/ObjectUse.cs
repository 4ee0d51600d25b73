namespace Ioasis.Kernel;

/// <summary>
/// The use of an object in one scope: the object stays until the scope ends, on every path out of it. Made by <see cref="ObjectTable.Use"/>,
/// or for an object that is at hand. Whoever needs the object for longer takes a use of its own by <see cref="Keep"/>.
/// </summary>
internal readonly ref struct ObjectUse<T> : IDisposable
    where T : KernelObject
{
    private readonly T? _object;

    /// <summary>Uses an object, unless there is none or it is going.</summary>
    public ObjectUse(T? found) => _object = found is not null && found.TryKeep() ? found : null;

    /// <summary>Whether there is an object.</summary>
    public bool IsPresent => _object is not null;

    /// <summary>The object. Only if <see cref="IsPresent"/>, which who made the use has found out.</summary>
    public T Object => _object!;

    /// <summary>The object, or null if there is none.</summary>
    public T? ObjectOrNull => _object;

    /// <summary>Adds a use that outlives the scope. Who gets the object ends that use by <see cref="KernelObject.Release"/>.</summary>
    public T Keep()
    {
        Object.Keep();
        return Object;
    }

    /// <summary>Ends the use.</summary>
    public void Dispose() => _object?.Release();
}

/// <summary>The use of several objects in one scope.</summary>
internal sealed class ObjectUses<T>(List<T> objects) : IDisposable
    where T : KernelObject
{
    /// <summary>The objects, each used until the scope ends.</summary>
    public IReadOnlyList<T> Objects => objects;

    /// <summary>Ends the uses.</summary>
    public void Dispose()
    {
        foreach (T used in objects)
        {
            used.Release();
        }
    }
}
