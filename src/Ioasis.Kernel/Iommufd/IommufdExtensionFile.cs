namespace Ioasis.Kernel;

/// <summary>An open file of an extension, of which processes have descriptors. Its last close releases it.</summary>
internal abstract class IommufdExtensionFile
{
    /// <summary>The last descriptor is gone, and no call uses it.</summary>
    protected internal abstract void Release();
}

/// <summary>
/// Where the argument of an extension's call has descriptors, so that whoever carries calls from one process to another can put those of the
/// other in their place.
/// </summary>
/// <param name="In">Offset of a descriptor that the caller gives, a 32-bit number; null for none.</param>
/// <param name="Out">Offset of a descriptor that the caller gets; null for none.</param>
/// <param name="IsResult">Whether the call's result is a descriptor.</param>
internal readonly record struct ExtensionDescriptors(int? In = null, int? Out = null, bool IsResult = false);

/// <summary>Such a file, among those of the kernel.</summary>
internal sealed class ExtensionFile(IommufdExtensionFile inner) : OpenFile
{
    /// <summary>The extension's part.</summary>
    public IommufdExtensionFile Inner => inner;

    /// <inheritdoc/>
    protected override void Release() => inner.Release();
}
